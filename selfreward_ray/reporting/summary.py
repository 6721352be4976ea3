"""What a report shows of a run: plain figures, gathered by whoever has read the run's folder.

A figure that was not measured is None, never 0.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepSummary:
    """What one finished step made, gave up and cost."""

    step: str
    model: str
    """The model that the step worked for."""
    rows: int
    dropped: dict[str, int]
    """Rows given up, by reason."""
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """Generated or trained tokens a second; None where no tokens or no time were counted."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True)
class ModelSummary:
    """What was measured of one model. The scorer's `score` and its 95 % interval are in percent, shares 0 to 1."""

    model: str
    score: float | None
    score_low: float | None
    score_high: float | None
    pairwise_accuracy: float | None
    spearman: float | None
    unreadable: float | None
    """Share of the model's verdicts in which no score could be read."""
    mean_words: float | None
    pairs: int | None
    """Preference pairs that trained the model; None for one that DPO did not make."""
    evaluated_prompts: int


@dataclass(frozen=True)
class Sample:
    """A preference pair for the reader to judge for themselves; the means are the judge's."""

    model: str
    prompt: str
    chosen: str
    chosen_mean: float
    rejected: str
    rejected_mean: float


@dataclass(frozen=True)
class RunSummary:
    """A whole run, in the order in which it happened."""

    name: str
    recipe_yaml: str
    scorer: str | None
    """The name of the program whose scores the models have."""
    models: tuple[ModelSummary, ...]
    steps: tuple[StepSummary, ...]
    samples: tuple[Sample, ...]
