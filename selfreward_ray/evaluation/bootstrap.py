"""Percentile bootstrap intervals of ratios of sums over units, such as the sets of a judge's agreement.

The interval is the middle 95 % of the ratio over resamples: as many units, drawn with replacement. It is deterministic
and does not depend on the order of the units. It cannot show what no unit shows: if all units are alike, for example
all right, it has no width, however few they are.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_SEED = 20010
_CELLS = 4_000_000
"""Maximum number of counts that are drawn at once, which bounds the memory."""


def ratio_intervals(sums: NDArray[np.float64]) -> list[list[float] | None]:
    """The 95 % interval, lower and upper end, of each ratio of sums.

    `sums` has the shape (units, ratios, 2): what a unit adds to the numerator and to the denominator. A ratio has no
    interval if fewer than two units add to its denominator. Resamples without any such unit are left out.
    """
    units = (sums[:, :, 1] > 0).sum(axis=0)
    if not (units > 1).any():
        return [None] * sums.shape[1]
    totals = _resampled(sums)
    with np.errstate(invalid="ignore"):
        ratios = totals[:, :, 0] / totals[:, :, 1]
    return [
        np.nanpercentile(values, (2.5, 97.5)).tolist() if count > 1 else None
        for count, values in zip(units, ratios.T, strict=True)
    ]


def _resampled(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums over the units of each resample, of shape (resamples, ratios, 2).

    Many units are alike, so the number of copies of each different one is drawn, and not each unit.
    """
    units, ratios, _ = sums.shape
    different, copies = np.unique(sums.reshape(units, -1), axis=0, return_counts=True)
    rng = np.random.default_rng(_SEED)
    part = max(1, _CELLS // len(different))
    totals = [
        rng.multinomial(units, copies / units, size=min(part, RESAMPLES - start)) @ different
        for start in range(0, RESAMPLES, part)
    ]
    return np.concatenate(totals).reshape(RESAMPLES, ratios, 2)
