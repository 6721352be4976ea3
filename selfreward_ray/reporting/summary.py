"""The contents of a report: plain values that `reporting.reading` takes from a run's folder.

A value that was not measured is None, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfreward_ray.alarms.check import Fired
from selfreward_ray.reporting.findings import AddedComparison, Finding
from selfreward_ray.reporting.instruments import Instruments
from selfreward_ray.reporting.recipe_diff import Difference
from selfreward_ray.store.rejection import Rejection


@dataclass(frozen=True)
class StepSummary:
    """Rows, drops and cost of a finished step."""

    step: str
    model: str
    """The model that the step contributes to."""
    rows: int
    dropped: dict[str, int]
    """Number of dropped rows by reason."""
    tokens: int
    """Generated or trained tokens."""
    seconds: float
    engine_start_seconds: float | None = None
    """The part of `seconds` in which engines started; None if the step measured none."""

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens per second; None if the step counted no tokens or took no time."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True)
class ModelSummary:
    """Metrics of a model. `score` and its 95 % interval are in percent, fractions from 0 to 1."""

    model: str
    score: float | None
    score_low: float | None
    score_high: float | None
    pairwise_accuracy: float | None
    spearman: float | None
    unreadable: float | None
    """Fraction of the model's verdicts without a readable score."""
    mean_words: float | None
    pairs: int | None
    """Number of preference pairs that the model was trained on; None if it was not trained by DPO."""
    evaluated_prompts: int
    five_best: float | None = None
    exact_match: float | None = None
    kendall: float | None = None
    verdicts: int | None = None
    """Number of verdicts on held-out replies, of which `unreadable` is a fraction."""
    unfinished: float | None = None
    repetitive: float | None = None
    distinct_1: float | None = None
    distinct_2: float | None = None
    intervals: Mapping[str, Sequence[float] | None] = field(default_factory=dict)
    """The 95 % interval, low and high, of each of `evaluation.agreement.FIGURES`."""
    against: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Outcomes of its answers head to head with those of earlier models, by their names, as `Evaluated.against`."""


@dataclass(frozen=True)
class SharedReply:
    """A text that is the reply to more prompts than `pairs.constant_share` allows."""

    text: str
    prompts: int
    is_answer: bool
    """Whether it may be chosen, because it is an answer of the task."""


@dataclass(frozen=True)
class IterationSummary:
    """The candidates that a model wrote and judged, and the pairs that its successor is trained on."""

    model: str
    """The model that is trained, which the ids begin with."""
    judge: str
    """The model that wrote and judged the candidates."""
    prompts: int
    candidates: int
    unreadable: float | None
    """Fraction of the verdicts without a readable score."""
    ties: float | None
    """Fraction of the pairs of candidates of one prompt that have the same mean score."""
    level: float | None
    """Fraction of the prompts with two scored candidates or more whose candidates all have the same mean score."""
    at_maximum: float | None
    """Fraction of the scored candidates that have the rubric's maximum as their mean; None if it is not known."""
    histogram: Mapping[str, float]
    """Fraction of the scored candidates by their mean, rounded to a point of the rubric or to a tenth of its range."""
    candidate_words: float | None
    chosen_words: float | None
    rejected_words: float | None
    chosen_mean: float | None
    """Mean score of the chosen candidates, in points of the rubric."""
    rejected_mean: float | None
    unfinished: float | None
    """Fraction of the candidates that the length limit cut off."""
    outcomes: Mapping[str, int]
    """Number of judged prompts by what became of them: a pair, or the reason why there is none."""
    flagged: Mapping[str, int] = field(default_factory=dict)
    """Number of candidates that could not be chosen, by the rule that flagged them."""
    shared: tuple[SharedReply, ...] = ()
    """Replies to many prompts, the most common first."""


@dataclass(frozen=True)
class Training:
    """The log of a training. Steps count from 1."""

    title: str
    """Model and method, as in ``M2 · DPO``."""
    finished: bool
    steps: int
    skipped: tuple[int, ...]
    """Steps that changed no weight, because their loss or gradient was not finite."""
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    """(step, value) by the name of the metric in ``steps.jsonl``."""
    selected: str = ""
    """Which checkpoint became the model, and why; empty if it is the last one without a choice."""
    left_out: str = ""
    """How many thoughts of its rows are not trained, and why; empty if none."""
    workers: str = ""
    """From which step on it had how many workers; empty if always the same number."""


@dataclass(frozen=True)
class Sample:
    """A preference pair to be shown, with the judge's mean scores."""

    model: str
    prompt: str
    chosen: str
    chosen_mean: float
    rejected: str
    rejected_mean: float


@dataclass(frozen=True)
class RunSummary:
    """The contents of a run's report. Models and steps are in the order of the run."""

    name: str
    recipe_yaml: str
    scorer: str | None
    """Name of the scorer that gave the models' scores; None if there is none."""
    models: tuple[ModelSummary, ...]
    steps: tuple[StepSummary, ...]
    samples: tuple[Sample, ...]
    unfinished: tuple[str, ...] = ()
    """Titles of the steps that are not finished."""
    instruments: Instruments = field(default_factory=Instruments)
    """What measured the models."""
    findings: tuple[Finding, ...] = ()
    alarms: tuple[Fired, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    """The models that alarms have rejected."""
    planned_models: int = 0
    """t of the last model of the run."""
    comparisons: tuple[AddedComparison, ...] = ()
    iterations: tuple[IterationSummary, ...] = ()
    trainings: tuple[Training, ...] = ()
    differences: tuple[Difference, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of this package and of those that the steps ran with, by name; several are listed with commas."""


def rejection_notes(rejections: Sequence[Rejection], last: int) -> list[str]:
    """A sentence for each rejected model, and one with the model to use if the last one, M(`last`), is rejected."""
    gone, use = {rejection.model for rejection in rejections}, model_to_use(rejections, last)
    notes = [
        f"M{r.model} is rejected by the alarm {r.alarm} after {r.step}: no model from M{r.since} on starts from it."
        for r in rejections
    ]
    if last in gone:
        notes.append(f"The last model is rejected: use M{use} (M{use}/model in the run's folder).")
    return notes


def model_to_use(rejections: Sequence[Rejection], last: int) -> int:
    """t of the newest model up to M(`last`) that is not rejected."""
    gone = {rejection.model for rejection in rejections}
    return max((t for t in range(1, last + 1) if t not in gone), default=1)


def rejection_mark(models: str, rejections: Sequence[Rejection], last: int) -> str:
    """What a reader of findings on `models`, as in ``M3 against M1``, has to know: that the first one is rejected.
    Empty if it is not."""
    for rejection in rejections:
        if f" M{rejection.model} against " in f" {models}":
            instead = f": use M{model_to_use(rejections, last)}" if rejection.model == last else ""
            return f"M{rejection.model} is rejected by the alarm {rejection.alarm}{instead}."
    return ""
