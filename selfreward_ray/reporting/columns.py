"""The two tables of a report, the same on the terminal and on the page."""

from selfreward_ray.reporting.summary import ModelSummary, StepSummary
from selfreward_ray.reporting.wording import number, percent

MODEL_COLUMNS = (
    "model",
    "true score %\n(95 %)",
    "pairwise\nacc. %",
    "Spearman",
    "unread.\n%",
    "pairs\nkept",
    "mean\nwords",
    "prompts",
)
STEP_COLUMNS = ("model", "step", "rows", "tokens", "seconds", "tok/s", "dropped")
WORDS = ("model", "step", "dropped")
"""The columns that hold words; the others hold figures, which stand right-aligned and unbroken."""


def model_cells(model: ModelSummary) -> tuple[str, ...]:
    """One cell for each of `MODEL_COLUMNS`."""
    return (
        model.model,
        _with_interval(model),
        percent(model.pairwise_accuracy),
        number(model.spearman, 3),
        percent(model.unreadable),
        number(model.pairs),
        number(model.mean_words),
        number(model.evaluated_prompts),
    )


def step_cells(step: StepSummary) -> tuple[str, ...]:
    """One cell for each of `STEP_COLUMNS`; drop reasons stand one a line, the commonest first."""
    reasons = sorted(step.dropped.items(), key=lambda item: (-item[1], item[0]))
    return (
        step.model,
        step.step,
        number(step.rows),
        number(step.tokens),
        number(step.seconds),
        number(step.tokens_per_second),
        "\n".join(f"{number(count)} {reason}" for reason, count in reasons) or "0",
    )


def _with_interval(model: ModelSummary) -> str:
    score = number(model.true_score, 1)
    if model.true_score is None or model.true_score_low is None or model.true_score_high is None:
        return score
    return f"{score} ({number(model.true_score_low, 1)}–{number(model.true_score_high, 1)})"
