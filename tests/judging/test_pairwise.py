"""Head-to-head in both orders: what is asked, and when a win counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.judging.pairwise import outcome, questions
from selfreward_ray.judging.rubric import load_pairwise


def test_each_reply_is_shown_first_once() -> None:
    asked = questions(load_pairwise("pairwise"), "Name a sea.", "The Baltic.", "The Alps.")
    first = [question.split("<first_reply>")[1].split("</first_reply>")[0].strip() for question in asked]
    second = [question.split("<second_reply>")[1].split("</second_reply>")[0].strip() for question in asked]
    assert (first, second) == (["The Baltic.", "The Alps."], ["The Alps.", "The Baltic."])


@pytest.mark.parametrize(
    ("ours_first", "ours_second", "expected"),
    [
        (1, 0, "win"),
        (0, 1, "loss"),
        (0.5, 0.5, "tie"),
        # the place decided, not the reply
        (1, 1, "tie"),
        (0, 0, "tie"),
        # one verdict alone is no agreement
        (1, 0.5, "tie"),
        (0.5, 0, "tie"),
        (0, 0.5, "tie"),
        (0.5, 1, "tie"),
        # not read
        (None, 0, None),
        (1, None, None),
        (None, None, None),
    ],
)
def test_outcome(ours_first: float | None, ours_second: float | None, expected: str | None) -> None:
    assert outcome(ours_first, ours_second) == expected


@given(st.sampled_from([0, 0.5, 1, None]), st.sampled_from([0, 0.5, 1, None]))
def test_the_other_side_has_the_opposite_outcome(ours_first: float | None, ours_second: float | None) -> None:
    opposite = {"win": "loss", "loss": "win", "tie": "tie", None: None}
    assert outcome(ours_second, ours_first) == opposite[outcome(ours_first, ours_second)]
