"""The two tables of a report, the same on the terminal and on the page."""

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
"""The columns that hold words; the others hold figures, which stand right-aligned and unbroken."""


def model_columns(scorer: str | None) -> tuple[str, ...]:
    """Without a column of scores where there is no `scorer`."""
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
    score = number(model.score, 1)
    if model.score is None or model.score_low is None or model.score_high is None:
        return score
    return f"{score} ({number(model.score_low, 1)}–{number(model.score_high, 1)})"
