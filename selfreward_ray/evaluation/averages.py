"""The mean that knows when there is nothing to average."""

from collections.abc import Iterable
from statistics import fmean


def mean(values: Iterable[float]) -> float | None:
    """Mean of `values`, of truths their share; None of nothing."""
    values = list(values)
    return fmean(values) if values else None
