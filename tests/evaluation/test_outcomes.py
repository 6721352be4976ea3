"""Wins, losses and ties of a head-to-head comparison."""

import random
from math import comb

import pytest

from selfreward_ray.evaluation.intervals import dispersion
from selfreward_ray.evaluation.outcomes import (
    Outcomes,
    outcomes,
    outcomes_by_score,
    wilson_interval,
    win_rate_interval,
)
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
def test_without_ties_the_interval_is_wilsons(wins: int, count: int, interval: tuple[float, float]):
    assert wilson_interval(wins / count, count) == pytest.approx(interval, abs=1e-4)
    assert win_rate_interval([1.0] * wins + [0.0] * (count - wins)) == pytest.approx(interval, abs=1e-4)


def some_wins(left: int, right: int, ties: int) -> list[float]:
    return [1.0] * left + [0.0] * right + [0.5] * ties


def test_ties_make_the_interval_narrower():
    """20 wins, 6 losses and 36 ties with the two that are added: mean 38 / 62, variance 29 / 62 − (38 / 62)² = 0.0921,
    that of a coin 38·24 / 62² = 0.2373, so d = 0.3881. With n / d = 154.6 and z = 1.96, the interval of 37 / 60 is
    (0.6167 + 0.0124 ± √(0.2364·0.02485 + 0.000154)) / 1.02485."""
    wins = some_wins(19, 5, 36)
    assert dispersion(wins) == pytest.approx(0.3881, abs=1e-4)
    assert win_rate_interval(wins) == pytest.approx((0.5381, 0.6896), abs=1e-4)
    assert wilson_interval(37 / 60, 60)[0] < 0.5


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24])
def test_the_interval_is_never_wider_than_wilsons_and_never_of_zero_width(count: int):
    for left in range(count + 1):
        for right in range(count + 1 - left):
            wins = some_wins(left, right, count - left - right)
            share = sum(wins) / count
            low, high = win_rate_interval(wins)
            wide_low, wide_high = wilson_interval(share, count)
            assert wide_low - 1e-9 <= low <= share + 1e-9
            assert share - 1e-9 <= high <= wide_high + 1e-9
            assert 0 <= low < high <= 1
            assert high - low > 0.05
            mirrored = win_rate_interval(some_wins(right, left, count - left - right))
            assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("count", "win", "tie"), [(60, 0.2, 0.6), (30, 0.2, 0.6), (60, 0.35, 0.6), (60, 0.15, 0.8), (60, 0.5, 0.0)]
)
def test_the_interval_covers_the_true_rate_as_often_as_it_says(count: int, win: float, tie: float):
    """The probability of each number of wins, losses and ties, added up where the interval has the true rate."""
    covered = 0.0
    for left in range(count + 1):
        for right in range(count + 1 - left):
            ties = count - left - right
            low, high = win_rate_interval(some_wins(left, right, ties))
            if low <= win + tie / 2 <= high:
                ways = comb(count, left) * comb(count - left, right)
                covered += ways * win**left * (1 - win - tie) ** right * tie**ties
    assert 0.93 < covered < 0.97


def test_the_win_rate_has_the_interval_with_ties():
    """6 left, 2 right, 2 ties, one of which by the order."""
    names = ["left"] * 6 + ["right"] * 2 + ["neither", "first"]
    found = outcomes(Comparison("p", PAIR, (), (), name) for name in names)
    assert found.left_win_interval == win_rate_interval(some_wins(6, 2, 2))
    assert outcomes_by_score({"a": 1, "b": 1}, {"a": 0, "b": 1}).left_win_interval == win_rate_interval([1.0, 0.5])
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
