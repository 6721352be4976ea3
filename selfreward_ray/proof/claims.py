"""What the figures show and what they do not: each part of the claim, held or not held, as computed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from selfreward_ray.evaluation.pooling import Estimate
from selfreward_ray.proof.figures import ProofFigures, Scores
from selfreward_ray.reporting.wording import MISSING, number


@dataclass(frozen=True)
class Claim:
    """A part of the claim, whether the figures hold it, and these figures as they are read."""

    text: str
    held: bool
    figures: str


def make_claims(figures: ProofFigures) -> list[Claim]:
    """Each part of the claim that the figures can decide; without controls those about controls are not there."""
    models = figures.models[1:]  # M0 only shows where M1 begins
    found: list[Claim] = []
    for name in figures.sets:
        found.append(_rising(f"{name}: {' > '.join(reversed(models))} in true score", figures.true_score[name], models))
        for what, scores in (("true score", figures.true_score), ("the conditional rules alone", figures.conditional)):
            found += _apart(f"{name}: {models[-1]} above {models[0]} in {what}", scores[name], models)
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


def _rising(text: str, scores: dict[str, Estimate], models: list[str]) -> Claim:
    held = all(scores[before].mean < scores[after].mean for before, after in pairwise(models))
    return Claim(text, held, _listed(scores, models))


def _apart(text: str, scores: dict[str, Estimate], models: list[str]) -> Iterator[Claim]:
    first, last = scores[models[0]], scores[models[-1]]
    held = first.high is not None and last.low is not None and first.high < last.low
    yield Claim(f"{text}, intervals apart", held, _listed(scores, [models[0], models[-1]]))
    held = all(before < after for before, after in zip(first.runs, last.runs, strict=True))
    shown = ", ".join(f"{number(a, 1)} → {number(b, 1)}" for a, b in zip(first.runs, last.runs, strict=True))
    yield Claim(f"{text}, with each seed", held, shown)


def _between(figures: ProofFigures, name: str, model: str) -> Iterator[Claim]:
    """Self-rewarded above random pairs, and below the verifier's."""
    own = figures.true_score[name][model]

    def of(control: str) -> Estimate | None:
        scores: Scores = figures.controls.get(control, {})
        return scores.get(name, {}).get(model)

    low, high = of("random"), of("ceiling")
    if low is not None:
        shown = f"{with_interval(own)} against {with_interval(low)}"
        yield Claim(f"{name}: {model} above random pairs", own.mean > low.mean, shown)
    if high is not None:
        shown = f"{with_interval(own)} against {with_interval(high)}"
        yield Claim(f"{name}: {model} below the ceiling", own.mean < high.mean, shown)


def _judge_holds(figures: ProofFigures, models: list[str]) -> Iterator[Claim]:
    first = figures.fixed_judge[models[0]].spearman
    for model in models[1:]:
        own = figures.fixed_judge[model].spearman
        held = first.low is not None and own.mean >= first.low
        shown = f"{number(own.mean, 3)} against {with_interval(first, 3)}"
        yield Claim(f"judge: Spearman of {model} on the fixed set not below the interval of {models[0]}", held, shown)


def _listed(scores: dict[str, Estimate], models: list[str]) -> str:
    return ", ".join(f"{model} {with_interval(scores[model])}" for model in models)
