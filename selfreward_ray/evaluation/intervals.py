"""One figure of several runs: its mean, and a 95 % interval over prompts and seeds.

A run is one seed's: its own seed data, models and held-out prompts. So prompts are nested in runs, and a mean is off
for two reasons: which prompts were drawn, and how the run went. Each run's mean has both in it, so the spread of these
means measures both at once, with as many degrees of freedom as there are runs but one: Student's t says how rough a
measure that is. It may be small by luck: what the prompts alone would make is the least that is believed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from scipy import stats


def mean(values: Iterable[float]) -> float | None:
    """Mean of `values`, of truths their share; None of nothing."""
    values = list(values)
    return fmean(values) if values else None


def means(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Mean of the values of each key; None is no value, and a key with no other is left out."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in values:
        if value is not None:
            found[key].append(value)
    return {key: fmean(each) for key, each in found.items()}


@dataclass(frozen=True)
class Estimate:
    """A pooled figure, in the unit of its values."""

    mean: float
    """Of the runs' means: each run counts the same."""
    margin: float | None
    """Half the width of the 95 % interval; None where one run has one value."""
    runs: tuple["Estimate", ...] = ()
    """Each run's own, with an interval over its prompts alone; none where there is only one."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.margin is None else self.mean + self.margin


def pooled(runs: Sequence[Mapping[str, float]]) -> Estimate:
    """Estimate of `runs`, each the values of one seed by their prompts' ids. Raises `ValueError` for a run without any.

    Half the interval is the greater of two: 1.96 standard errors by the spread of the values within runs, and Student's
    t times the standard error by the spread of the runs' means.
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
    """What each value became more, by id. Raises `ValueError` where the two have not the same ids."""
    if before.keys() != after.keys():
        raise ValueError(f"not measured on the same rows: {sorted(before.keys() ^ after.keys())[:3]} are in one alone")
    return {key: after[key] - value for key, value in before.items()}
