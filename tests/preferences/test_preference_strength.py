"""Preference strength: how surely the verdicts say that the best is better than the worst."""

import pytest
from judged_prompts import PROMPT, candidate, candidate_set

from selfreward_ray.preferences.candidate_set import TOO_FEW_VERDICTS
from selfreward_ray.preferences.preference_strength import WEAK, preference_strength
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped, Pair


def outcome(*candidates: Candidate, weak: str = "drop", least: float = 0.75) -> list[Pair] | Dropped:
    return preference_strength(candidate_set(*candidates), Pairs(weak=weak, min_confidence=least))


# Means 4 and 3, variances 1 and 1 (population): d / s = 1 / √2 = 0.7071, Φ = 0.760250.
BETTER, WORSE = candidate("a", "a", 5, 3), candidate("b", "b", 4, 2)


@pytest.mark.parametrize(
    ("least", "weak", "smoothing"),
    [
        (0.76, "drop", 0.0),
        (0.77, "drop", None),
        (0.76, "soften", 0.0),
        (0.77, "soften", 0.239750),
    ],
)
def test_a_weak_pair_is_dropped_or_softened_by_hand(least: float, weak: str, smoothing: float | None):
    made = outcome(BETTER, WORSE, weak=weak, least=least)
    if smoothing is None:
        assert made == Dropped(PROMPT, "pair", WEAK)
    else:
        [pair] = made
        assert (pair.id, pair.chosen, pair.rejected) == (f"{PROMPT}/pair", BETTER, WORSE)
        assert pair.label_smoothing == pytest.approx(smoothing, abs=1e-6)


def test_both_spreads_count():
    """Means 4 and 3; variances 0 and 4: Φ(1/2) = 0.691462. Turned round, the best spread, it is the same."""
    steady, wild = candidate("a", "a", 4, 4), candidate("b", "b", 5, 1)
    wild_best, steady_worst = candidate("a", "a", 5, 1), candidate("b", "b", 2, 2)
    for candidates in ((steady, wild), (wild_best, steady_worst)):
        [pair] = outcome(*candidates, weak="soften")
        assert pair.label_smoothing == pytest.approx(1 - 0.691462, abs=1e-6)


def test_verdicts_that_all_agree_are_sure():
    [pair] = outcome(candidate("a", "a", 4, 4, 4), candidate("b", "b", 3, 3, 3), weak="soften", least=1)
    assert pair.label_smoothing == 0


def test_only_the_best_against_the_worst_is_asked():
    """The worst is wild: 4.5 against 1.5 is Φ(3 / √(0.25 + 2.25)) = Φ(1.897) = 0.971; 3 would be surer."""
    best, middle, worst = candidate("a", "a", 5, 4), candidate("b", "b", 3, 3), candidate("c", "c", 0, 3)
    [pair] = outcome(worst, middle, best, least=0.97)
    assert (pair.chosen, pair.rejected) == (best, worst)
    assert outcome(worst, middle, best, least=0.975) == Dropped(PROMPT, "pair", WEAK)


def test_what_gives_no_pair_keeps_its_reason():
    assert outcome(BETTER) == Dropped(PROMPT, "pair", TOO_FEW_VERDICTS)
