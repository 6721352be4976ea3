"""Wins, losses and ties of a head-to-head comparison (paper, section 3.1)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from selfreward_ray.evaluation.intervals import dispersion, gains
from selfreward_ray.evaluation.length_control import length_controlled
from selfreward_ray.records import Comparison, ScoredPair

_Z = 1.959964


@dataclass(frozen=True)
class Outcomes:
    """Numbers of compared pairs, `left`, `right` and `ties`, which add up to all of them, and win rates from 0 to 1.

    Intervals are 95 % intervals over prompts, as ``[low, high]``.
    """

    left: int
    right: int
    ties: int
    left_win_rate: float | None
    """Wins of the left side plus half the ties, divided by the number of pairs; None if nothing was compared."""
    left_win_interval: list[float] | None
    """The interval of `left_win_rate`, see `win_rate_interval`; None if nothing was compared."""
    length_controlled_win_rate: float | None
    """The win rate at equal length, see `length_control`; None if it cannot be estimated."""
    length_controlled_interval: list[float] | None
    first_in_both: int
    """Ties with a position bias: both orders prefer the reply shown first."""
    second_in_both: int
    """Ties with a position bias: both orders prefer the reply shown second."""


def outcomes(comparisons: Iterable[Comparison | ScoredPair]) -> Outcomes:
    """Count the outcomes of `comparisons`, and estimate the win rate at equal length in characters."""
    compared: list[tuple[str, int]] = []
    for comparison in comparisons:
        pair = comparison.pair if isinstance(comparison, Comparison) else comparison
        compared.append((comparison.preferred, len(pair.left.text) - len(pair.right.text)))
    return _outcomes([preferred for preferred, _ in compared], [difference for _, difference in compared])


def outcomes_by_score(left: Mapping[str, float], right: Mapping[str, float]) -> Outcomes:
    """Compare two models by their scores on each prompt; the higher score wins. There are no texts to control for.

    Raises `ValueError` if the two were not scored on the same prompts.
    """
    gained = gains(left, right).values()
    return _outcomes(["left" if gain < 0 else "right" if gain > 0 else "neither" for gain in gained], None)


def win_rate_interval(wins: Sequence[float]) -> list[float]:
    """The 95 % interval, ``[low, high]``, of the mean of at least one of `wins`: 1, ½ for a tie, 0 for a loss.

    Wilson's score interval for n/d pairs in the place of n. d is the `dispersion` of the wins: a tie varies less than a
    win or a loss does, so that n pairs with ties say as much as n/d without. Without ties d is 1, and the interval is
    Wilson's; it is never wider. It lies within 0 and 1 and has a width at 0, at 1 and if all are ties, also for a few
    pairs, where a bootstrap or a normal approximation has none.
    """
    return wilson_interval(fmean(wins), len(wins) / dispersion(wins))


def wilson_interval(share: float, count: float) -> list[float]:
    """Wilson's 95 % score interval, ``[low, high]``, of a `share` of `count` units."""
    z2 = _Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    margin = _Z / (1 + z2 / count) * sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return [max(0.0, centre - margin), min(1.0, centre + margin)]


def _outcomes(preferred: Sequence[str], differences: Sequence[int] | None) -> Outcomes:
    counts = Counter(preferred)
    count, left, right = counts.total(), counts["left"], counts["right"]
    ties = count - left - right
    wins = [{"left": 1.0, "right": 0.0}.get(name, 0.5) for name in preferred]
    controlled = None if differences is None else length_controlled(wins, differences)
    return Outcomes(
        left=left,
        right=right,
        ties=ties,
        left_win_rate=(left + ties / 2) / count if count else None,
        left_win_interval=win_rate_interval(wins) if count else None,
        length_controlled_win_rate=None if controlled is None else controlled.rate,
        length_controlled_interval=None if controlled is None else [controlled.low, controlled.high],
        first_in_both=counts["first"],
        second_in_both=counts["second"],
    )
