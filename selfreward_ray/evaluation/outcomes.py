"""Wins, losses and ties of a head-to-head comparison (paper, section 3.1)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.evaluation.intervals import gains
from selfreward_ray.records import Comparison


@dataclass(frozen=True)
class Outcomes:
    """Numbers of compared pairs. `left`, `right` and `ties` add up to all of them."""

    left: int
    right: int
    ties: int
    left_win_rate: float | None
    """Wins of the left side plus half the ties, divided by the number of pairs; None if nothing was compared."""
    first_in_both: int
    """Ties with a position bias: both orders prefer the reply shown first."""
    second_in_both: int
    """Ties with a position bias: both orders prefer the reply shown second."""


def outcomes(comparisons: Iterable[Comparison]) -> Outcomes:
    """Count the outcomes of `comparisons`."""
    return _count(comparison.preferred for comparison in comparisons)


def outcomes_by_score(left: Mapping[str, float], right: Mapping[str, float]) -> Outcomes:
    """Compare two models by their scores on each prompt; the higher score wins.

    Raises `ValueError` if the two were not scored on the same prompts.
    """
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
