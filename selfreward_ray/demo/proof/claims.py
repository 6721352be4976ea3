"""The claims of a proof, each decided by the figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from selfreward_ray.demo.proof.figures import ProofFigures
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.reporting.formatting import MISSING, number

Outcome = Literal["held", "not significant", "NOT HELD"]
"""Not significant: the 95 % interval of a difference includes 0, so the claim is neither shown nor refuted."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """A claim, its outcome, and the figures that decide it, as text."""

    text: str
    outcome: Outcome
    figures: str


def make_claims(figures: ProofFigures) -> list[Claim]:
    """The claims that the figures can decide. Without controls there are no claims about them."""
    models = figures.models[1:]  # M0 is only the starting point
    found: list[Claim] = []
    for name in figures.sets:
        text = f"{name}: {' > '.join(reversed(models))} in true score"
        found.append(_rising(f"{text}, the means", figures.true_score[name], models))
        found.append(_rising_with_each_seed(text, figures.true_score[name], models))
        for what, scores, gains in (
            ("true score", figures.true_score, figures.gains),
            ("the conditional rules alone", figures.conditional, figures.conditional_gains),
        ):
            text = f"{name}: {models[-1]} above {models[0]} in {what}"
            found += _above(text, scores[name], gains[name][models[-1], models[0]], models)
        for model in models[1:]:
            found += _between(figures, name, model)
    return found + list(_judge_holds(figures, models))


def with_interval(estimate: Estimate | None, digits: int = 1) -> str:
    """``61.2 (58.0–64.4)``."""
    if estimate is None:
        return MISSING
    mean = number(estimate.mean, digits)
    if estimate.low is None:
        return mean
    return f"{mean} ({number(estimate.low, digits)}–{number(estimate.high, digits)})"


def with_sign(gain: Estimate | None) -> str:
    """A difference with its interval: ``+4.2 (+2.2 to +6.2)``."""
    if gain is None:
        return MISSING
    shown = f"{gain.mean:+.1f}"
    return shown if gain.margin is None else f"{shown} ({gain.low:+.1f} to {gain.high:+.1f})"


def _outcome(held: bool) -> Outcome:
    return "held" if held else "NOT HELD"


def _rising(text: str, scores: dict[str, Estimate], models: list[str]) -> Claim:
    return Claim(text, _outcome(_rises([scores[model] for model in models])), _listed(scores, models))


def _rising_with_each_seed(text: str, scores: dict[str, Estimate], models: list[str]) -> Claim:
    seeds = list(zip(*(scores[model].runs or (scores[model],) for model in models), strict=True))
    shown = ", ".join(" → ".join(number(estimate.mean, 1) for estimate in seed) for seed in seeds)
    return Claim(f"{text}, with each seed", _outcome(all(map(_rises, seeds))), shown)


def _rises(estimates: Sequence[Estimate]) -> bool:
    return all(before.mean < after.mean for before, after in pairwise(estimates))


def _above(text: str, scores: dict[str, Estimate], gain: Estimate, models: list[str]) -> Iterator[Claim]:
    first, last = scores[models[0]], scores[models[-1]]
    held = first.high is not None and last.low is not None and first.high < last.low
    yield Claim(f"{text}, intervals apart", _outcome(held), _listed(scores, [models[0], models[-1]]))
    yield Claim(f"{text}, prompt by prompt", _significance(gain, 1), with_sign(gain))
    yield _rising_with_each_seed(text, scores, [models[0], models[-1]])


def _between(figures: ProofFigures, name: str, model: str) -> Iterator[Claim]:
    """Claims that the self-rewarded model is above the control `random` and below the control `ceiling`."""
    for control, where, sign in (("random", "above random pairs", 1), ("ceiling", "below the ceiling", -1)):
        ahead = figures.ahead.get(control, {}).get(name, {}).get(model)
        if ahead is not None:
            yield Claim(f"{name}: {model} {where}", _significance(ahead, sign), with_sign(ahead))


def _significance(ahead: Estimate, sign: int) -> Outcome:
    if ahead.margin is None or abs(ahead.mean) <= ahead.margin:
        return "not significant"
    return _outcome(sign * ahead.mean > 0)


def _judge_holds(figures: ProofFigures, models: list[str]) -> Iterator[Claim]:
    first = figures.fixed_judge[models[0]].spearman
    for model in models[1:]:
        own = figures.fixed_judge[model].spearman
        held = first.low is not None and own.mean >= first.low - _ROUNDING
        shown = f"{number(own.mean, 3)} against {with_interval(first, 3)}"
        text = f"judge: Spearman of {model} on the fixed set not below the interval of {models[0]}"
        yield Claim(text, _outcome(held), shown)


def _listed(scores: dict[str, Estimate], models: list[str]) -> str:
    return ", ".join(f"{model} {with_interval(scores[model])}" for model in models)
