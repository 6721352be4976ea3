"""Figures of a head-to-head comparison (paper, section 3.1)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.evaluation.intervals import gains
from selfreward_ray.records import Comparison


@dataclass(frozen=True)
class Outcomes:
    """Counts of compared pairs; left, right and ties are all of them."""

    left: int
    right: int
    ties: int
    left_win_rate: float | None
    """Share of left's wins, 0 to 1, a tie counted as half a win; None where nothing was compared."""
    first_in_both: int
    """Ties in which the order decided: both orders prefer the reply that was shown first …"""
    second_in_both: int
    """… or that was shown second."""


def outcomes(comparisons: Iterable[Comparison]) -> Outcomes:
    """Figures of `comparisons`."""
    return _count(comparison.preferred for comparison in comparisons)


def outcomes_by_score(left: Mapping[str, float], right: Mapping[str, float]) -> Outcomes:
    """Of two models' scores by prompt: the greater one wins. Raises `ValueError` where the prompts are not the same."""
    return _count("left" if gain < 0 else "right" if gain > 0 else "neither" for gain in gains(left, right).values())


def _count(preferred: Iterable[str]) -> Outcomes:
    counts = Counter(preferred)
    left, right = counts["left"], counts["right"]
    ties = counts.total() - left - right
    return Outcomes(
        left=left,
        right=right,
        ties=ties,
        left_win_rate=(left + ties / 2) / counts.total() if counts else None,
        first_in_both=counts["first"],
        second_in_both=counts["second"],
    )
