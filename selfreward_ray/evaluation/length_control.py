"""Length-controlled win rate: the win rate that is expected if both replies have the same length.

A logistic regression in the manner of AlpacaEval 2 (Dubois et al., 2024): the probability that the left reply wins is
``σ(a + b·tanh(d / s))``. d is the length of the left reply minus that of the right one in characters, and s the
standard deviation of d. The win rate at equal length is ``σ(a)``. A tie counts as half a win.

What differs from AlpacaEval 2: there is no term for how difficult a prompt is, because that is estimated from many
models; nothing is extrapolated to lengths that were not observed; and the fit is penalized by Firth's method instead of
a cross-validated L2 norm. Firth's penalty (Jeffreys prior) has no setting, and its estimate is finite even if the
lengths separate wins from losses. The interval is that of the profile penalized likelihood (Heinze & Schemper, 2002),
over prompts, with the `dispersion` of the wins as that of a quasi-likelihood: ties vary less than wins and losses do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from selfreward_ray.evaluation.intervals import dispersion

MIN_DECIDED = 10
"""Minimum number of pairs that are not ties. With fewer, two coefficients cannot be estimated."""

_INTERCEPTS = (-30.0, 30.0)
"""Where `a` is searched. At the ends the win rate is 0 or 1 in any printed form."""
_SLOPES = (-60.0, 60.0)
"""Where `b` is searched: far enough to cancel every intercept."""
_DROP = float(stats.chi2.ppf(0.95, 1)) / 2
"""How far the log-likelihood falls from its maximum to an end of the interval, without ties."""


@dataclass(frozen=True)
class LengthControlled:
    """A length-controlled win rate of the left side, from 0 to 1, with its 95 % interval."""

    rate: float
    low: float
    high: float


def length_controlled(wins: Sequence[float], differences: Sequence[int]) -> LengthControlled | None:
    """The length-controlled win rate of the left side.

    `wins` has 1 for a win of the left reply, 0.5 for a tie and 0 for a loss; `differences` has the length of the left
    reply minus that of the right one. None if fewer than `MIN_DECIDED` pairs are decided, if all differences are equal,
    or if one side is the longer one in every pair: equal length is then outside of what was observed.
    """
    won, difference = np.array(wins, dtype=float), np.array(differences, dtype=float)
    if (won != 0.5).sum() < MIN_DECIDED or not difference.min() <= 0 <= difference.max() or not difference.any():
        return None
    length = np.tanh(difference / difference.std())
    drop = _DROP * dispersion(wins)

    def loss(intercept: float) -> float:
        """The smallest loss with this intercept."""
        return _smallest(lambda slope: _penalized_loss(intercept + slope * length, length, won), _SLOPES)[1]

    best, least = _smallest(loss, _INTERCEPTS)

    def beyond(intercept: float) -> float:
        return loss(intercept) - least - drop

    def end(limit: float) -> float:
        return limit if beyond(limit) < 0 else float(optimize.brentq(beyond, best, limit, xtol=1e-5))

    rate, low, high = (float(special.expit(value)) for value in (best, end(_INTERCEPTS[0]), end(_INTERCEPTS[1])))
    return LengthControlled(rate, low, high)


def _penalized_loss(logits: NDArray[np.float64], length: NDArray[np.float64], won: NDArray[np.float64]) -> float:
    """Negative log-likelihood of `won`, minus half the logarithm of the determinant of the Fisher information."""
    weights = special.expit(logits) * special.expit(-logits)
    centred = length - np.average(length, weights=weights)
    determinant = weights.sum() * (weights * centred**2).sum()
    return float((np.logaddexp(0, logits) - won * logits).sum() - np.log(determinant) / 2)


def _smallest(function: Callable[[float], float], bounds: tuple[float, float]) -> tuple[float, float]:
    """Where `function` is smallest within `bounds`, and its value there."""
    found = optimize.minimize_scalar(function, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(found.x), float(found.fun)
