"""The contents of a report: plain values that `steps.report` reads from a run's folder.

A value that was not measured is None, never 0.
"""

from dataclasses import dataclass


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
