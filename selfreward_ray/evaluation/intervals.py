"""Means, and their 95 % intervals over prompts and seeds.

A run has a seed of its own, and with it its own seed data, models and held-out prompts: prompts are nested in runs. A
mean then varies for two reasons, the choice of prompts and the course of the run. The means of the runs vary for both,
so their spread gives the standard error, with Student's t for n - 1 degrees of freedom of n runs. With few runs this
spread can be small by chance. So the interval is never smaller than the one that follows from the spread of the prompts
within runs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from scipy import stats


def mean(values: Iterable[float]) -> float | None:
    """Mean of `values`, which is a fraction if they are booleans; None if there are none."""
    values = list(values)
    return fmean(values) if values else None


def fraction(part: float | None, whole: float) -> float | None:
    """``part / whole``; None if `whole` is 0, or `part` is not known."""
    return part / whole if whole and part is not None else None


def means(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Mean of the values of each key. None is no value; a key without a value is left out."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in values:
        if value is not None:
            found[key].append(value)
    return {key: fmean(each) for key, each in found.items()}


def dispersion(wins: Sequence[float]) -> float:
    """Variance of `wins`, which are 1, ½ (ties) and 0, divided by that of a coin with the same mean: 1 without ties.

    One win and one loss are added, so that it is above 0 and defined even if all `wins` are alike.
    """
    values = [*wins, 1.0, 0.0]
    share = fmean(values)
    return fmean((value - share) ** 2 for value in values) / (share * (1 - share))


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, in the unit of its values."""

    mean: float
    """Mean of the means of the runs, each with the same weight."""
    margin: float | None
    """Half the width of the 95 % interval; None if there is one run with one value."""
    runs: tuple["Estimate", ...] = ()
    """The estimate of each run, with an interval over its prompts; empty if there is only one run."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.margin is None else self.mean + self.margin

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends."""
        return None if self.margin is None else (self.mean - self.margin, self.mean + self.margin)


def pooled(runs: Sequence[Mapping[str, float]]) -> Estimate:
    """Estimate the mean of `runs`, each a mapping from prompt ids to values.

    Half the width of the interval is the larger of two numbers: 1.96 times the standard error from the spread of the
    values within runs, and Student's t times the standard error from the spread of the means of the runs. Raises
    `ValueError` if a run has no value.
    """
    if not runs or not all(runs):
        raise ValueError(f"{sum(not values for values in runs)} of {len(runs)} runs have no value to pool")
    each = tuple(_of_one(list(values.values())) for values in runs)
    if len(each) == 1:
        return each[0]
    means = [run.mean for run in each]
    by_prompts = sqrt(sum((run.margin or 0.0) ** 2 for run in each)) / len(each)
    by_runs = stats.t.ppf(0.975, len(each) - 1) * sqrt(variance(means) / len(each))
    return Estimate(fmean(means), max(by_prompts, float(by_runs)), each)


def _of_one(values: Sequence[float]) -> Estimate:
    return Estimate(fmean(values), 1.96 * sqrt(variance(values) / len(values)) if len(values) > 1 else None)


def gains(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The difference ``after - before`` of each id. Raises `ValueError` if the two have different ids."""
    if before.keys() != after.keys():
        raise ValueError(f"not measured on the same rows: {sorted(before.keys() ^ after.keys())[:3]} are in one only")
    return {key: after[key] - value for key, value in before.items()}
