"""Means that know when there is nothing to average."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean


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
