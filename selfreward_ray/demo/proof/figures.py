"""Compute the pooled figures of a proof from the rows of all seeds. Reads and writes no files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from selfreward_ray.demo.rules import (
    CheckedAnswer,
    conditional_percents,
    habit_percents,
    kept_percents,
    true_percent,
    true_percents,
)
from selfreward_ray.demo.verifier import MAX_TRUE_SCORE
from selfreward_ray.demo.world import SENTENCES, Kind
from selfreward_ray.evaluation.agreement import (
    Agreement,
    ScoreCount,
    agreement,
    first_verdicts,
    score_counts,
    spearmans,
)
from selfreward_ray.evaluation.intervals import Estimate, gains, pooled
from selfreward_ray.evaluation.outcomes import Outcomes, outcomes_by_score
from selfreward_ray.evaluation.replies import ReplyFigures, reply_figures
from selfreward_ray.records import JudgedReply
from selfreward_ray.reporting.summary import Sample


@dataclass(frozen=True)
class PairCount:
    """The number of pairs that a model was trained on, and how many of them the verifier agrees with."""

    prompts: int
    """Prompts with judged candidates."""
    pairs: int
    agreed: int
    """Pairs of which the verifier prefers the chosen reply."""
    tied: int
    """Pairs of which the verifier gives both replies the same score. Of the rest it prefers the rejected one."""

    def __add__(self, other: "PairCount") -> "PairCount":
        return PairCount(
            self.prompts + other.prompts, self.pairs + other.pairs, self.agreed + other.agreed, self.tied + other.tied
        )


@dataclass(frozen=True)
class SeedRows:
    """All measurements of one seed. Dictionaries have models as keys: ``M0``, ``M1``, …"""

    seed: int
    """The seed of the recipe."""
    answers: dict[str, list[CheckedAnswer]]
    """Answers sampled as in the loop, several to each held-out prompt."""
    greedy: dict[str, list[CheckedAnswer]]
    """Greedy answers of M1, M2, …, one to each held-out prompt."""
    judged: dict[str, list[JudgedReply]]
    """Verdicts on the replies of the held-out sets, which are the same for all models."""
    own: dict[str, list[JudgedReply]]
    """Verdicts of a model on its own answers, which are ranked by true score."""
    controls: dict[str, dict[str, list[CheckedAnswer]]]
    """By name of the control, the answers of the models that it has."""
    pairs: dict[str, PairCount]
    shared_pairs: dict[str, int]
    """Number of a model's pairs that the control `ceiling` has too."""
    judge_scores: dict[str, dict[str, float]]
    """M1's scores for the answers of M1, M2, …, by prompt id. Unreadable verdicts are left out."""
    samples: tuple[Sample, ...]
    loop_seconds: float
    """Time of the loop and its evaluation."""
    seconds: float
    """Time with all other measurements and the controls."""


@dataclass(frozen=True)
class JudgeFigures:
    """A model as judge. `spearman` is pooled over sets and seeds, `agreement` over all sets of all seeds."""

    spearman: Estimate
    agreement: Agreement
    scores: list[ScoreCount]


@dataclass(frozen=True)
class Match:
    """Head-to-head comparison of the greedy answers of M(t), left, and M(t-1), right, over all seeds."""

    left: str
    right: str
    by_truth: dict[str, Outcomes]
    """By held-out set."""
    by_judge: Outcomes
    """By M1's scores, on the prompts for which both answers have one."""


@dataclass(frozen=True)
class RuleFigures:
    """How often a rule is kept, in percent; None if there are no such prompts."""

    asked: Estimate | None
    """On prompts that ask for the rule."""
    not_asked: Estimate | None
    """On prompts that ask neither for the rule nor for its opposite."""


Scores = dict[str, dict[str, Estimate]]
"""By held-out set and model, in percent."""


Gains = dict[str, dict[tuple[str, str], Estimate]]
"""By held-out set and by pair of a model and an earlier one, the difference in points on the same prompts."""


@dataclass(frozen=True)
class ProofFigures:
    """All figures of a proof, pooled over prompts and seeds."""

    seeds: tuple[int, ...]
    true_score: Scores
    conditional: Scores
    """Share of kept conditional rules."""
    greedy: Scores
    """True score of greedy answers."""
    greedy_conditional: Scores
    gains: Gains
    """Gains in true score."""
    conditional_gains: Gains
    controls: dict[str, Scores]
    """True scores by control, of the models that it has with every seed."""
    ahead: dict[str, Scores]
    """By control, the self-rewarded model's true score minus that of the control's model, on the same prompts."""
    rules: dict[str, dict[Kind, dict[str, RuleFigures]]]
    """By set, rule and model."""
    fixed_judge: dict[str, JudgeFigures]
    own_judge: dict[str, JudgeFigures]
    matches: list[Match]
    replies: dict[str, ReplyFigures]
    pairs: dict[str, PairCount]
    shared_pairs: dict[str, int]
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
    """Pool the measurements of `runs`, one for each seed, all of the same recipe."""
    runs = [_numbered(number, run) for number, run in enumerate(runs)]
    models = list(runs[0].answers)
    steps = list(pairwise(models[1:]))  # M0 is not made by the loop
    controls = {name: _of_every_seed(runs, name) for name in runs[0].controls}
    answers = {model: [run.answers[model] for run in runs] for model in models}
    greedy = {model: [run.greedy[model] for run in runs] for model in models[1:]}
    sets = sorted({a.group for a in runs[0].answers[models[0]]})
    return ProofFigures(
        seeds=tuple(run.seed for run in runs),
        true_score=_scores(sets, answers, true_percents),
        conditional=_scores(sets, answers, conditional_percents),
        greedy=_scores(sets, greedy, true_percents),
        greedy_conditional=_scores(sets, greedy, conditional_percents),
        gains=_gains(sets, answers, models[1:], true_percents),
        conditional_gains=_gains(sets, answers, models[1:], conditional_percents),
        controls={name: _scores(sets, found, true_percents) for name, found in controls.items()},
        ahead={
            name: {
                s: {model: _gain(s, answers[model], theirs, true_percents) for model, theirs in found.items()}
                for s in sets
            }
            for name, found in controls.items()
        },
        rules={s: {k: {m: _rule(s, k, answers[m]) for m in models} for k in SENTENCES} for s in sets},
        fixed_judge={model: _judge([run.judged[model] for run in runs]) for model in models[1:]},
        own_judge={model: _judge([run.own[model] for run in runs]) for model in models[1:]},
        matches=[_match(sets, before, after, runs) for before, after in steps],
        replies={model: _reply_figures([a for run in found for a in run]) for model, found in answers.items()},
        pairs={model: sum((run.pairs[model] for run in runs), PairCount(0, 0, 0, 0)) for model in runs[0].pairs},
        shared_pairs={model: sum(run.shared_pairs[model] for run in runs) for model in runs[0].shared_pairs},
        samples=runs[0].samples,
        loop_seconds=max(run.loop_seconds for run in runs),
        seconds=max(run.seconds for run in runs),
    )


def _numbered(number: int, run: SeedRows) -> SeedRows:
    """Make ids unique: the same id stands for different rows in different seeds."""

    def answers(by_model: Mapping[str, list[CheckedAnswer]]) -> dict[str, list[CheckedAnswer]]:
        return {
            model: [
                replace(a, prompt_id=f"{number}/{a.prompt_id}", answer=replace(a.answer, id=f"{number}/{a.answer.id}"))
                for a in found
            ]
            for model, found in by_model.items()
        }

    def judged(by_model: Mapping[str, list[JudgedReply]]) -> dict[str, list[JudgedReply]]:
        return {m: [replace(r, set_id=f"{number}/{r.set_id}") for r in found] for m, found in by_model.items()}

    scores = {m: {f"{number}/{key}": score for key, score in found.items()} for m, found in run.judge_scores.items()}
    return replace(
        run,
        answers=answers(run.answers),
        greedy=answers(run.greedy),
        judged=judged(run.judged),
        own=judged(run.own),
        controls={name: answers(found) for name, found in run.controls.items()},
        judge_scores=scores,
    )


_Answers = list[CheckedAnswer]
_Measure = Callable[[_Answers], Mapping[str, float]]


def _scores(sets: Iterable[str], answers: Mapping[str, list[_Answers]], measure: _Measure) -> Scores:
    return {
        name: {model: pooled([measure(_in(name, run)) for run in runs]) for model, runs in answers.items()}
        for name in sets
    }


def _in(name: str, answers: _Answers) -> _Answers:
    return [a for a in answers if a.group == name]


def _of_every_seed(runs: Sequence[SeedRows], name: str) -> dict[str, list[_Answers]]:
    models = [model for model in runs[0].controls[name] if all(model in run.controls[name] for run in runs)]
    return {model: [run.controls[name][model] for run in runs] for model in models}


def _gains(
    sets: Iterable[str], answers: Mapping[str, list[_Answers]], models: Sequence[str], measure: _Measure
) -> Gains:
    spans = list(combinations(models, 2))
    return {
        s: {(after, before): _gain(s, answers[after], answers[before], measure) for before, after in spans}
        for s in sets
    }


def _gain(name: str, after: list[_Answers], before: list[_Answers], measure: _Measure) -> Estimate:
    measured = [[measure(_in(name, run)) for run in runs] for runs in (before, after)]
    return pooled([gains(*run) for run in zip(*measured, strict=True)])


def _rule(name: str, kind: Kind, answers: list[_Answers]) -> RuleFigures:
    def of(measure: Callable[[_Answers, Kind], dict[str, float]]) -> Estimate | None:
        measured = [measure(_in(name, run), kind) for run in answers]
        return pooled(measured) if all(measured) else None

    return RuleFigures(of(kept_percents), of(habit_percents))


def _judge(judged: list[list[JudgedReply]]) -> JudgeFigures:
    """With one verdict per reply: on fixed replies and on a model's own, so that the two can be compared."""
    runs = list(map(first_verdicts, judged))
    together = [reply for run in runs for reply in run]
    return JudgeFigures(pooled(list(map(spearmans, runs))), agreement(together, MAX_TRUE_SCORE), score_counts(together))


def _match(sets: Iterable[str], before: str, after: str, runs: Sequence[SeedRows]) -> Match:
    def scores(name: str, model: str) -> dict[str, float]:
        return _together(true_percents(_in(name, run.greedy[model])) for run in runs)

    by_truth = {name: outcomes_by_score(scores(name, after), scores(name, before)) for name in sets}
    left, right = (_together(run.judge_scores[model] for run in runs) for model in (after, before))
    both = left.keys() & right.keys()
    return Match(after, before, by_truth, outcomes_by_score({k: left[k] for k in both}, {k: right[k] for k in both}))


def _together(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    return {key: value for run in runs for key, value in run.items()}


def _reply_figures(answers: _Answers) -> ReplyFigures:
    return reply_figures([a.answer for a in answers], {a.answer.id: true_percent(a) for a in answers})
