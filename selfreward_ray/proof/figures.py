"""The figures of a proof: rows of all seeds in, pooled figures out. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from selfreward_ray.evaluation.agreement import Agreement, ScoreCount, agreement, score_counts, spearmans
from selfreward_ray.evaluation.outcomes import Outcomes, outcomes_by_score
from selfreward_ray.evaluation.pooling import Estimate, gains, pooled
from selfreward_ray.evaluation.replies import ReplyFigures, reply_figures, true_percents
from selfreward_ray.evaluation.rules import CheckedAnswer, conditional_percents, habit_percents, kept_percents
from selfreward_ray.records import JudgedReply
from selfreward_ray.reporting.summary import Sample
from selfreward_ray.seed.demo.world import SENTENCES, Kind

MAX_SCORE = 5
"""Of the true score, and of each rubric that the demo world's verdicts are written for."""


@dataclass(frozen=True)
class PairCount:
    """The pairs that trained a model, and what the verifier says of them."""

    prompts: int
    """With judged candidates; each gives at most one pair, or as many as its policy makes."""
    pairs: int
    agreed: int
    """The verifier too prefers the chosen reply …"""
    tied: int
    """… or gives both the same score; of the rest it prefers the other."""

    def __add__(self, other: "PairCount") -> "PairCount":
        return PairCount(
            self.prompts + other.prompts, self.pairs + other.pairs, self.agreed + other.agreed, self.tied + other.tied
        )


@dataclass(frozen=True)
class SeedRows:
    """What was measured with one seed, by model: ``M0``, ``M1``, …"""

    answers: dict[str, list[CheckedAnswer]]
    judged: dict[str, list[JudgedReply]]
    """Verdicts on the fixed candidates, the held-out sets' own."""
    own: dict[str, list[JudgedReply]]
    """Verdicts of a model on its own answers, ranked by their true scores."""
    controls: dict[str, dict[str, list[CheckedAnswer]]]
    """By the control's name, answers of the models that it came to."""
    pairs: dict[str, PairCount]
    judge_scores: dict[str, dict[str, float]]
    """What M1 gave the answers of M1 and the models after it, by prompt, where its verdict could be read."""
    samples: tuple[Sample, ...]
    loop_seconds: float
    seconds: float
    """With all that is measured, and the controls."""


@dataclass(frozen=True)
class JudgeFigures:
    """A model as judge; `spearman` is over sets and seeds, `agreement` over all sets of all seeds together."""

    spearman: Estimate
    agreement: Agreement
    scores: list[ScoreCount]


@dataclass(frozen=True)
class Match:
    """M(t), the left, head to head with M(t-1), over all seeds."""

    left: str
    right: str
    by_truth: dict[str, Outcomes]
    """By held-out set."""
    by_judge: Outcomes
    """By M1's scores, on the prompts where it gave one to both answers."""


@dataclass(frozen=True)
class RuleFigures:
    """How often a rule is kept, in percent; None where no prompt is of that sort."""

    asked: Estimate | None
    not_asked: Estimate | None
    """Where neither the rule nor its opposite is asked for."""


Scores = dict[str, dict[str, Estimate]]
"""By held-out set and model, in percent."""


@dataclass(frozen=True)
class ProofFigures:
    """All figures of a proof, pooled over prompts and seeds."""

    seeds: int
    true_score: Scores
    conditional: Scores
    """Share of the conditional rules that are kept."""
    gains: Scores
    """What a model gained in true score over the one before it, by the later model."""
    controls: dict[str, Scores]
    """True score, by control; only of models that it came to with every seed."""
    rules: dict[str, dict[Kind, dict[str, RuleFigures]]]
    """By set, rule and model."""
    fixed_judge: dict[str, JudgeFigures]
    own_judge: dict[str, JudgeFigures]
    matches: list[Match]
    replies: dict[str, ReplyFigures]
    pairs: dict[str, PairCount]
    samples: tuple[Sample, ...]
    loop_seconds: float
    """Of the slowest seed."""
    seconds: float

    @property
    def sets(self) -> list[str]:
        return list(self.true_score)

    @property
    def models(self) -> list[str]:
        return list(self.replies)


def pool_figures(runs: Sequence[SeedRows]) -> ProofFigures:
    """Figures of `runs`, one of each seed, all of the same recipe."""
    models = list(runs[0].answers)
    steps = list(pairwise(models[1:]))  # M0 is no model of the loop's
    answers = {model: [run.answers[model] for run in runs] for model in models}
    sets = sorted({a.group for a in runs[0].answers[models[0]]})
    return ProofFigures(
        seeds=len(runs),
        true_score=_scores(sets, answers, _true_percents),
        conditional=_scores(sets, answers, conditional_percents),
        gains={s: {after: _gain(s, answers[before], answers[after]) for before, after in steps} for s in sets},
        controls={name: _scores(sets, _of_every_seed(runs, name), _true_percents) for name in runs[0].controls},
        rules={s: {k: {m: _rule(s, k, answers[m]) for m in models} for k in SENTENCES} for s in sets},
        fixed_judge={model: _judge([run.judged[model] for run in runs]) for model in models[1:]},
        own_judge={model: _judge([run.own[model] for run in runs]) for model in models[1:]},
        matches=[_match(sets, before, after, runs) for before, after in steps],
        replies={model: reply_figures([a.answer for run in found for a in run]) for model, found in answers.items()},
        pairs={model: sum((run.pairs[model] for run in runs), PairCount(0, 0, 0, 0)) for model in runs[0].pairs},
        samples=runs[0].samples,
        loop_seconds=max(run.loop_seconds for run in runs),
        seconds=max(run.seconds for run in runs),
    )


_Answers = list[CheckedAnswer]


def _scores(
    sets: Iterable[str], answers: Mapping[str, list[_Answers]], measure: Callable[[_Answers], Mapping[str, float]]
) -> Scores:
    return {
        name: {model: pooled([measure(_in(name, run)) for run in runs]) for model, runs in answers.items()}
        for name in sets
    }


def _in(name: str, answers: _Answers) -> _Answers:
    return [a for a in answers if a.group == name]


def _true_percents(answers: _Answers) -> dict[str, float]:
    return true_percents(a.answer for a in answers)


def _of_every_seed(runs: Sequence[SeedRows], name: str) -> dict[str, list[_Answers]]:
    models = [model for model in runs[0].controls[name] if all(model in run.controls[name] for run in runs)]
    return {model: [run.controls[name][model] for run in runs] for model in models}


def _gain(name: str, before: list[_Answers], after: list[_Answers]) -> Estimate:
    measured = [[_true_percents(_in(name, run)) for run in runs] for runs in (before, after)]
    return pooled([gains(*run) for run in zip(*measured, strict=True)])


def _rule(name: str, kind: Kind, answers: list[_Answers]) -> RuleFigures:
    def of(measure: Callable[[_Answers, Kind], dict[str, float]]) -> Estimate | None:
        measured = [measure(_in(name, run), kind) for run in answers]
        return pooled(measured) if all(measured) else None

    return RuleFigures(of(kept_percents), of(habit_percents))


def _judge(judged: list[list[JudgedReply]]) -> JudgeFigures:
    # Ids are the same in each seed, the sets are not.
    apart = [replace(r, set_id=f"{number}/{r.set_id}") for number, run in enumerate(judged) for r in run]
    return JudgeFigures(pooled(list(map(spearmans, judged))), agreement(apart, MAX_SCORE), score_counts(apart))


def _match(sets: Iterable[str], before: str, after: str, runs: Sequence[SeedRows]) -> Match:
    def true_percents(name: str, model: str) -> dict[str, float]:
        return _of_all_seeds(_true_percents(_in(name, run.answers[model])) for run in runs)

    by_truth = {name: outcomes_by_score(true_percents(name, after), true_percents(name, before)) for name in sets}
    left, right = (_of_all_seeds(run.judge_scores[model] for run in runs) for model in (after, before))
    both = left.keys() & right.keys()
    return Match(after, before, by_truth, outcomes_by_score({k: left[k] for k in both}, {k: right[k] for k in both}))


def _of_all_seeds(values: Iterable[Mapping[str, float]]) -> dict[str, float]:
    # Ids are the same in each seed, the prompts are not.
    return {f"{number}/{key}": value for number, found in enumerate(values) for key, value in found.items()}
