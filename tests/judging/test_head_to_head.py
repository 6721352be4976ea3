"""Which replies are compared, and which one the verdicts of both orders prefer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.judging.head_to_head import ALONE, TOO_FEW_VERDICTS, TWICE, decide, match_replies
from selfreward_ray.records import Comparison, Contender, Dropped, ReplyPair, Verdict

PAIR = ReplyPair("left/a", "Why?", Contender("a", "So."), Contender("b", "No."))


def verdicts(*scores: float | None) -> tuple[Verdict, ...]:
    return tuple(Verdict(f"v{k}", "", score, 1) for k, score in enumerate(scores))


@pytest.mark.parametrize(
    ("left_first", "right_first", "preferred"),
    [
        ((1, 1), (0, 0), "left"),
        ((0, 0), (1, 1), "right"),
        ((1, 0.5), (0.5, 0), "left"),
        ((1, 1, 0), (0, 0, 1), "left"),
        ((1, 1), (1, 1), "first"),
        ((0, 0), (0, 0), "second"),
        ((1, 0), (0, 0), "neither"),
        ((1, 1), (0.5, 0.5), "neither"),
        ((0.5, 0.5), (1, 0), "neither"),
        ((None, 1), (0, None), "left"),  # what could not be read has no say
        ((None, 0, 0), (1, None, None), "right"),
    ],
)
def test_a_side_wins_where_both_orders_prefer_it(
    left_first: tuple[float | None, ...], right_first: tuple[float | None, ...], preferred: str
):
    made = decide(PAIR, verdicts(*left_first), verdicts(*right_first), min_valid=1)
    assert made == Comparison("left/a", PAIR, verdicts(*left_first), verdicts(*right_first), preferred)


@pytest.mark.parametrize(
    ("left_first", "right_first", "min_valid", "enough"),
    [
        ((1, 1), (0, 0), 2, True),
        ((1, None), (0, 0), 2, False),
        ((1, 1), (None, 0), 2, False),
        ((1, 1), (None, None), 1, False),
        ((1, None), (None, 0), 1, True),
    ],
)
def test_each_order_needs_enough_verdicts_of_its_own(
    left_first: tuple[float | None, ...], right_first: tuple[float | None, ...], min_valid: int, enough: bool
):
    made = decide(PAIR, verdicts(*left_first), verdicts(*right_first), min_valid)
    assert isinstance(made, Comparison) if enough else made == Dropped("left/a", "compare", TOO_FEW_VERDICTS)


SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=5)
TURNED = {"left": "right", "right": "left"}


@given(SCORES, SCORES)
def test_sides_are_treated_alike(one: list[float], other: list[float]):
    """With left and right exchanged the winner is the other one, and a tie stays the tie it is."""
    made, turned = (decide(PAIR, verdicts(*a), verdicts(*b), 1) for a, b in ((one, other), (other, one)))
    assert isinstance(made, Comparison)
    assert isinstance(turned, Comparison)
    assert turned.preferred == TURNED.get(made.preferred, made.preferred)


def replies(side: str, *prompts: str) -> list[tuple[str, Contender]]:
    return [(prompt, Contender(f"{side}{n}", f"{side} says {n}")) for n, prompt in enumerate(prompts)]


def test_prompts_of_both_sides_are_paired_and_each_other_reply_has_its_reason():
    pairs, dropped = match_replies(replies("a", "x", "y", "x", "z"), replies("b", "z", "w", "x", "w"))
    assert pairs == [
        ReplyPair("left/a0", "x", Contender("a0", "a says 0"), Contender("b2", "b says 2")),
        ReplyPair("left/a3", "z", Contender("a3", "a says 3"), Contender("b0", "b says 0")),
    ]
    assert {(d.id, d.reason) for d in dropped} == {
        ("left/a1", ALONE["left"]),
        ("left/a2", TWICE["left"]),
        ("right/b1", ALONE["right"]),
        ("right/b3", TWICE["right"]),
    }
    assert len(dropped) == 4
    assert {d.step for d in dropped} == {"compare"}


PROMPTS = st.lists(st.sampled_from("uvwxyz"), max_size=8)


@given(PROMPTS, PROMPTS)
def test_every_reply_is_in_one_pair_or_dropped_once(left: list[str], right: list[str]):
    """Also where both sides call their replies by the same ids."""
    pairs, dropped = match_replies(replies("p", *left), replies("p", *right))
    ids = [*(p.id for p in pairs), *(d.id for d in dropped)]
    assert len(set(ids)) == len(ids)
    assert 2 * len(pairs) + len(dropped) == len(left) + len(right)
    assert [p.prompt for p in pairs] == [p for p in dict.fromkeys(left) if p in right]
