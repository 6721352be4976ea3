"""Wins, losses and ties of a head-to-head comparison."""

import random

import pytest

from selfreward_ray.evaluation.outcomes import Outcomes, outcomes, outcomes_by_score, wilson_interval
from selfreward_ray.records import Comparison, Contender, ReplyPair

PAIR = ReplyPair("p", "Why?", Contender("a", "So."), Contender("b", "No."))


def counts(found: Outcomes) -> tuple[int, int, int, float | None, int, int]:
    return (found.left, found.right, found.ties, found.left_win_rate, found.first_in_both, found.second_in_both)


@pytest.mark.parametrize(
    ("preferred", "figures"),
    [
        (["left", "left", "right", "neither"], (2, 1, 1, 0.625, 0, 0)),  # 2½ of 4
        (["first", "first", "second", "left", "neither"], (1, 0, 4, 0.6, 2, 1)),  # 1 and 4 halves of 5
        (["right"], (0, 1, 0, 0.0, 0, 0)),
        ([], (0, 0, 0, None, 0, 0)),
    ],
)
def test_a_tie_is_half_a_win_and_the_orders_share_is_told(preferred: list[str], figures: tuple):
    assert counts(outcomes(Comparison("p", PAIR, (), (), name) for name in preferred)) == figures


def test_the_greater_score_wins_and_prompts_must_be_the_same():
    """60 over 40 and twice equal: 1 win and 2 ties of 4, 1 loss: (1 + 1) / 4."""
    left, right = {"a": 60, "b": 40, "c": 80, "d": 0}, {"d": 20, "a": 40, "b": 40, "c": 80}
    assert counts(outcomes_by_score(left, right)) == (1, 1, 2, 0.5, 0, 0)
    assert counts(outcomes_by_score({"a": 60}, {"a": 40})) == (1, 0, 0, 1.0, 0, 0)
    with pytest.raises(ValueError, match=r"not measured on the same rows: \['b'\]"):
        outcomes_by_score({"a": 60}, {"a": 40, "b": 40})


@pytest.mark.parametrize(
    ("wins", "count", "interval"),
    [
        (0, 10, (0.0, 0.2775)),  # 3.8415 / 13.8415
        (10, 10, (0.7225, 1.0)),
        (5, 10, (0.2366, 0.7634)),
        (81, 263, (0.2553, 0.3662)),  # Newcombe, 1998, table I
        (1, 1, (0.2065, 1.0)),
    ],
)
def test_wilsons_interval(wins: float, count: int, interval: tuple[float, float]):
    assert wilson_interval(wins, count) == pytest.approx(interval, abs=1e-4)


def test_the_win_rates_interval_counts_ties_as_half_wins():
    """6 left, 2 right, 2 ties: 7 of 10."""
    found = outcomes(Comparison("p", PAIR, (), (), name) for name in ["left"] * 6 + ["right"] * 2 + ["neither"] * 2)
    assert found.left_win_interval == wilson_interval(7, 10)
    assert outcomes([]).left_win_interval is None


def comparison(preferred: str, left: int, right: int) -> Comparison:
    return Comparison(
        "p", ReplyPair("p", "Why?", Contender("a", "x" * left), Contender("b", "x" * right)), (), (), preferred
    )


def test_the_lengths_of_the_texts_are_controlled_for():
    """The longer reply always wins, and left is the longer one in 45 of 60 pairs: 75 %, at equal length about half."""
    rng = random.Random(0)
    pairs = [(rng.randint(60, 200), 50) for _ in range(45)] + [(50, rng.randint(60, 200)) for _ in range(15)]
    found = outcomes(comparison("left" if left > right else "right", left, right) for left, right in pairs)
    assert found.left_win_rate == 0.75
    assert 0.2 < found.length_controlled_win_rate < 0.8
    low, high = found.length_controlled_interval
    assert low < 0.5 < high


def test_without_texts_or_with_few_pairs_nothing_is_controlled_for():
    few = outcomes(comparison("left", 10 + n, 12) for n in range(9))
    assert (few.length_controlled_win_rate, few.length_controlled_interval) == (None, None)
    scores = {f"p{n}": n % 3 for n in range(40)}
    assert outcomes_by_score(scores, dict.fromkeys(scores, 1)).length_controlled_win_rate is None
