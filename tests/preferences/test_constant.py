"""Texts that answer too many prompts: found from parts, as exactly as from the whole."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.preferences.constant import count_among, count_texts, least_count, suspects
from selfreward_ray.preferences.flags import text_key


@pytest.mark.parametrize(
    ("prompts", "share", "least"),
    [
        (0, 0.02, 5),
        (200, 0.02, 5),  # 4 of 200 are 2 %, so more than that is 5
        (250, 0.02, 6),  # 5 of 250 are not more than 2 %
        (299, 0.02, 6),
        (200_000, 0.02, 4001),
        (100, 0.29, 30),  # 0.29 · 100 is 28.999999999999996
        (100, 1.0, 101),
    ],
)
def test_more_than_the_share_and_at_least_five(prompts: int, share: float, least: int):
    assert least_count(prompts, share) == least


def test_a_text_counts_once_a_prompt():
    counts = count_texts([["Yes.", "yes", "No."], ["YES!"], ["No.", "No."], []])
    assert counts == {text_key("yes"): 2, text_key("no"): 2}


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=5, max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([0.02, 0.3, 0.7]),
)
def test_however_the_blocks_are_cut_no_constant_text_escapes(replies: list[list[str]], cuts: list[int], share: float):
    least = least_count(len(replies), share)
    constant = {key for key, count in count_texts(replies).items() if count >= least}
    edges = [0, *sorted(cuts), len(replies)]
    blocks = [replies[a:b] for a, b in pairwise(edges)]
    assert constant <= {key for block in blocks for key in suspects(block, len(replies), least)}


def test_a_rare_text_is_no_suspect():
    """1 of 100 in the block is below 6 of 250 overall; 3 of 100 is not."""
    replies = [["rare"], *[["often"]] * 3, *[[f"own {i}"] for i in range(96)]]
    assert suspects(replies, 250, 6) == {text_key("often")}


def test_texts_are_counted_among_some_and_given_in_their_shortest_form():
    replies = [["**Yes.**", "yes"], ["YES!", "No."], ["No", "maybe"], []]
    counts, written = count_among(replies, {text_key("yes"), text_key("no")})
    assert counts == {text_key("yes"): 2, text_key("no"): 2}
    assert written == {text_key("yes"): "yes", text_key("no"): "No"}
