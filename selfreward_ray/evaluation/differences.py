"""Paired differences of two models that were measured on the same held-out prompts.

The prompts are the same, so the spread of the differences is what counts, and not that of the models' values: a
difference can be significant although the models' own intervals overlap.
"""

from collections.abc import Mapping
from math import sqrt

from selfreward_ray.evaluation.intervals import Estimate, gains, pooled

RankedPairs = Mapping[str, tuple[int, int]]
"""By set id: the pairs of replies that a judge ranked as humans did, and all of them, as `agreement.pair_counts`."""


def mean_difference(before: Mapping[str, float], after: Mapping[str, float]) -> Estimate | None:
    """Mean of ``after - before`` over the ids that both have, with its 95 % interval; None if there is no such id."""
    common = before.keys() & after.keys()
    if not common:
        return None
    return pooled([gains({key: before[key] for key in common}, {key: after[key] for key in common})])


def accuracy_difference(before: RankedPairs, after: RankedPairs) -> Estimate | None:
    """Difference of two pairwise accuracies over the sets that both have, with its 95 % interval.

    An accuracy is a ratio of sums over sets, because sets have different numbers of pairs. The interval follows from
    the linearised ratios (Cochran, Sampling Techniques, section 6.4): the residuals of a set are those of both models,
    so that the interval is of the paired difference. None if no set is common to both.
    """
    common = sorted(before.keys() & after.keys())
    if not common:
        return None
    (ratio_before, left), (ratio_after, right) = (_residuals([side[key] for key in common]) for side in (before, after))
    difference, count = ratio_after - ratio_before, len(common)
    if count == 1:
        return Estimate(difference, None)
    spread = sum((a - b) ** 2 for a, b in zip(right, left, strict=True))
    return Estimate(difference, 1.96 * sqrt(count / (count - 1) * spread))


def _residuals(counts: list[tuple[int, int]]) -> tuple[float, list[float]]:
    """The ratio of the sums, and each set's part of its error."""
    total = sum(pairs for _, pairs in counts)
    ratio = sum(right for right, _ in counts) / total
    return ratio, [(right - ratio * pairs) / total for right, pairs in counts]
