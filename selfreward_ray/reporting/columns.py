"""The two tables of a report, models and steps, for the terminal and the HTML page."""

from selfreward_ray.reporting.formatting import number, percent
from selfreward_ray.reporting.summary import ModelSummary, StepSummary

_JUDGE_COLUMNS = (
    "pairwise\nacc. %",
    "Spearman",
    "unread.\n%",
    "pairs\nkept",
    "mean\nwords",
    "prompts",
)
STEP_COLUMNS = ("model", "step", "rows", "tokens", "seconds", "tok/s", "dropped")
TEXT_COLUMNS = ("model", "step", "dropped")
"""The columns with text. The others contain numbers, which are right-aligned and never wrapped."""


def model_columns(scorer: str | None) -> tuple[str, ...]:
    """Column titles of the table of models. Without a `scorer` there is no column of scores."""
    return ("model", *([f"{scorer} score %\n(95 %)"] if scorer else []), *_JUDGE_COLUMNS)


def model_cells(model: ModelSummary, scorer: str | None) -> tuple[str, ...]:
    """One cell for each of `model_columns`."""
    return (
        model.model,
        *([_with_interval(model)] if scorer else []),
        percent(model.pairwise_accuracy),
        number(model.spearman, 3),
        percent(model.unreadable),
        number(model.pairs),
        number(model.mean_words),
        number(model.evaluated_prompts),
    )


def step_cells(step: StepSummary) -> tuple[str, ...]:
    """One cell for each of `STEP_COLUMNS`. Drop reasons are on lines of their own, the most common first."""
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
    score = number(model.score, 1)
    if model.score is None or model.score_low is None or model.score_high is None:
        return score
    return f"{score} ({number(model.score_low, 1)}–{number(model.score_high, 1)})"
