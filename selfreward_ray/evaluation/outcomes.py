"""Figures of a head-to-head comparison (paper, section 3.1)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

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
    counts = Counter(comparison.preferred for comparison in comparisons)
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
