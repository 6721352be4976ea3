"""The length-controlled win rate on synthetic judges whose preference is known."""

import math

import numpy as np
import pytest
from scipy import optimize

from selfreward_ray.evaluation.length_control import LengthControlled, length_controlled

N = 300


def differences(rng: np.random.Generator) -> np.ndarray:
    """Lengths in characters: the left side is the longer one in about four of five pairs."""
    return rng.normal(120, 150, N).round()


def controlled(wins: np.ndarray, lengths: np.ndarray) -> LengthControlled:
    found = length_controlled(wins.tolist(), lengths.tolist())
    assert found is not None
    assert 0 <= found.low <= found.rate <= found.high <= 1
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_of_length_alone_prefers_neither_side_at_equal_length(seed: int):
    rng = np.random.default_rng(seed)
    lengths = differences(rng)
    wins = (lengths > 0).astype(float)
    assert wins.mean() > 0.7
    found = controlled(wins, lengths)
    assert found.low < 0.5 < found.high
    assert abs(found.rate - 0.5) < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_that_leans_to_length_is_corrected(seed: int):
    """P(win) = σ(2·tanh(d / s)): half at equal length, much more on these pairs."""
    rng = np.random.default_rng(seed)
    lengths = differences(rng)
    wins = (rng.random(N) < 1 / (1 + np.exp(-2 * np.tanh(lengths / lengths.std())))).astype(float)
    assert wins.mean() > 0.65
    found = controlled(wins, lengths)
    assert found.low < 0.5 < found.high
    assert found.rate < wins.mean() - 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_preference_that_has_nothing_to_do_with_length_stays(seed: int):
    rng = np.random.default_rng(seed)
    wins = (rng.random(N) < 0.75).astype(float)
    found = controlled(wins, differences(rng))
    assert found.low > 0.5
    assert found.rate == pytest.approx(0.75, abs=0.12)


def test_a_preference_that_length_hides_appears():
    """Left is better and shorter, and the judge likes both: P(win) = σ(1 + 2·tanh(d / s)), with d mostly below 0."""
    rng = np.random.default_rng(4)
    lengths = -differences(rng)
    wins = (rng.random(N) < 1 / (1 + np.exp(-1 - 2 * np.tanh(lengths / lengths.std())))).astype(float)
    assert wins.mean() < 0.55
    assert controlled(wins, lengths).low > 0.55


def test_sides_are_exchangeable():
    rng = np.random.default_rng(5)
    lengths = differences(rng)
    wins = rng.choice([0, 0.5, 1], N, p=[0.2, 0.3, 0.5])
    found, mirrored = controlled(wins, lengths), controlled(1 - wins, -lengths)
    assert (found.rate, found.low, found.high) == pytest.approx(
        (1 - mirrored.rate, 1 - mirrored.high, 1 - mirrored.low), abs=1e-4
    )


def test_the_estimate_maximizes_firths_likelihood():
    """By a general optimizer in two dimensions, with the determinant as numpy computes it."""
    rng = np.random.default_rng(6)
    lengths = differences(rng)[:40]
    wins = (rng.random(40) < 0.7).astype(float)
    design = np.column_stack([np.ones(40), np.tanh(lengths / lengths.std())])

    def loss(coefficients: np.ndarray) -> float:
        chance = 1 / (1 + np.exp(-design @ coefficients))
        information = design.T @ (design * (chance * (1 - chance))[:, None])
        likelihood = (wins * np.log(chance) + (1 - wins) * np.log(1 - chance)).sum()
        return -likelihood - np.linalg.slogdet(information)[1] / 2

    best = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    found = controlled(wins, lengths)
    assert found.rate == pytest.approx(1 / (1 + math.exp(-best.x[0])), abs=1e-4)
    # An end of the interval: the best loss with that intercept is 1.92 above the least one.
    ends = [math.log(end / (1 - end)) for end in (found.low, found.high)]
    for end in ends:
        fallen = min(loss(np.array([end, slope])) for slope in np.linspace(-6, 6, 4001))
        assert fallen - best.fun == pytest.approx(1.9207, abs=0.002)


def test_one_side_that_always_wins_has_an_interval_below_1():
    rng = np.random.default_rng(7)
    found = controlled(np.ones(30), rng.normal(0, 50, 30).round())
    assert found.rate > 0.9
    assert found.low > 0.75


def test_ties_pull_to_the_middle():
    rng = np.random.default_rng(8)
    lengths = differences(rng)
    wins = (rng.random(N) < 0.8).astype(float)
    half_tied = np.where(np.arange(N) % 2, 0.5, wins)
    assert 0.5 < controlled(half_tied, lengths).rate < controlled(wins, lengths).rate - 0.05


def test_with_ties_the_interval_covers_the_true_rate_and_not_always():
    """60 % ties and ½ at equal length. An interval that takes a tie for half a coin would have ½ in every sample."""
    rng = np.random.default_rng(9)
    found = []
    for _ in range(200):
        lengths = rng.normal(0, 100, 60).round()
        win = 0.4 / (1 + np.exp(-np.tanh(lengths / 100)))
        drawn = rng.random(60)
        estimate = length_controlled(np.where(drawn < win, 1, np.where(drawn < 0.4, 0, 0.5)).tolist(), lengths.tolist())
        if estimate is not None:
            found.append(estimate.low <= 0.5 <= estimate.high)
    assert len(found) > 190
    assert 0.92 < np.mean(found) < 0.985


@pytest.mark.parametrize(
    ("wins", "lengths"),
    [
        ([], []),
        ([1, 0] * 4 + [1], [-1, 1] * 4 + [2]),  # nine decided pairs
        ([0.5] * 100 + [1, 0] * 4, [-1, 1] * 54),  # eight
        ([1, 0] * 20, [0] * 40),
        ([1, 0] * 20, [7] * 40),
        ([1, 0] * 20, list(range(1, 41))),  # left is always the longer one
        ([1, 0] * 20, list(range(-40, 0))),
    ],
)
def test_what_cannot_be_estimated_is_none(wins: list[float], lengths: list[int]):
    assert length_controlled(wins, lengths) is None


def test_ten_decided_pairs_of_two_lengths_are_enough():
    assert length_controlled([1, 0] * 5, [3, 0] * 5) is not None
