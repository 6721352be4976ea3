"""One figure of several runs: its mean, and a 95 % interval over prompts and seeds.

A run is one seed's: its own seed data, models and held-out prompts. So prompts are nested in runs, and a mean is off
for two reasons: which prompts were drawn, and how the run went. Each run's mean has both in it, so the spread of these
means measures both at once. Of few runs it is a rough measure, and may be small by luck: what the prompts alone would
make is the least that is believed, and each run's mean stands beside the interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance


@dataclass(frozen=True)
class Estimate:
    """A pooled figure, in the unit of its values."""

    mean: float
    """Of the runs' means: each run counts the same."""
    margin: float | None
    """Half the width of the 95 % interval; None where one run has one value."""
    runs: tuple[float, ...]
    """Each run's mean."""
    values: int
    """Over all runs."""

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

    The interval is normal, with runs as clusters: 1.96 times the greater of two standard errors of the mean, the one by
    the spread of the runs' means and the one by the spread of the values within runs.
    """
    if not runs or not all(runs):
        raise ValueError(f"{sum(not values for values in runs)} of {len(runs)} runs have no value to pool")
    means = tuple(fmean(values.values()) for values in runs)
    within = [variance(values.values()) / len(values) for values in runs if len(values) > 1]
    by_prompts = sum(within) / len(runs) ** 2
    by_runs = variance(means) / len(runs) if len(runs) > 1 else 0.0
    count = sum(map(len, runs))
    return Estimate(fmean(means), 1.96 * sqrt(max(by_prompts, by_runs)) if count > 1 else None, means, count)


def gains(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each value became more, by id. Raises `ValueError` where the two have not the same ids."""
    if before.keys() != after.keys():
        raise ValueError(f"not measured on the same rows: {sorted(before.keys() ^ after.keys())[:3]} are in one alone")
    return {key: after[key] - value for key, value in before.items()}
