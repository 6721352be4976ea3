"""The tables of a report, for the terminal and the HTML page: titles and cells."""

from collections.abc import Sequence

from selfreward_ray.alarms.check import Fired
from selfreward_ray.reporting.findings import AddedComparison, compared_pairs
from selfreward_ray.reporting.formatting import MISSING, number, percent, share_with_interval
from selfreward_ray.reporting.summary import IterationSummary, ModelSummary, StepSummary

_MODEL_COLUMNS = (
    "pairwise\nacc. %",
    "Spearman",
    "unread.\n%",
    "pairs\nkept",
    "mean\nwords",
    "prompts",
)
JUDGE_COLUMNS = (
    "model", "pairwise\nacc. %", "5-best\n%", "exact\n%", "Spearman", "Kendall", "unread.\n%", "verdicts",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "comparison", "left", "right", "judge", "pairs", "won", "lost", "ties", "win rate %\n(95 %)",
    "at equal length %\n(95 %)", "both orders\nfirst", "both orders\nsecond",
)  # fmt: skip
ITERATION_COLUMNS = (
    "pairs of", "judge", "prompts", "candidates", "unread.\n%", "ties\n%", "level\n%", "at maximum\n%", "unfinished\n%",
)  # fmt: skip
OUTCOME_COLUMNS = ("pairs of", "outcome", "prompts", "%")
FLAG_COLUMNS = ("pairs of", "reason", "replies", "%")
SHARED_COLUMNS = ("pairs of", "reply", "taken as", "prompts", "%")
LENGTH_COLUMNS = (
    "model", "answers\nwords", "chosen\nwords", "rejected\nwords", "chosen\nscore", "rejected\nscore", "unfinished\n%",
    "repetitive\n%", "distinct-1", "distinct-2",
)  # fmt: skip
ALARM_COLUMNS = ("alarm", "step", "model", "measured", "reaction")
_STEP_COLUMNS = ("model", "step", "rows", "tokens", "seconds", "tok/s", "dropped")
_START_COLUMN = "of these\nengine start"
TEXT_COLUMNS = (
    "model", "pairs of", "judge", "step", "dropped", "outcome", "alarm", "measured", "reaction", "comparison", "left",
    "right", "reason", "reply", "taken as",
)  # fmt: skip
"""The columns with text. The others contain numbers, which are right-aligned and never wrapped."""


def alarm_cells(alarm: Fired) -> tuple[str, ...]:
    """One cell for each of `ALARM_COLUMNS`."""
    return (alarm.alarm, alarm.step, f"M{alarm.model}", alarm.text, alarm.taken or alarm.reaction)


def model_columns(scorer: str | None) -> tuple[str, ...]:
    """Column titles of the table of models. Without a `scorer` there is no column of scores."""
    return ("model", *([f"{scorer} score %\n(95 %)"] if scorer else []), *_MODEL_COLUMNS)


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


def judge_cells(model: ModelSummary) -> tuple[str, ...]:
    """One cell for each of `JUDGE_COLUMNS`."""
    return (
        model.model,
        percent(model.pairwise_accuracy),
        percent(model.five_best),
        percent(model.exact_match),
        number(model.spearman, 3),
        number(model.kendall, 3),
        percent(model.unreadable),
        number(model.verdicts),
    )


class Abbreviated(str):
    """A cell with a short name; the page shows the `whole` one where a reader points at it."""

    whole: str

    def __new__(cls, short: str, whole: str) -> "Abbreviated":
        made = super().__new__(cls, short)
        made.whole = whole
        return made


def comparison_cells(comparison: AddedComparison) -> tuple[str, ...]:
    """One cell for each of `COMPARISON_COLUMNS`."""
    found = comparison.outcomes
    return (
        comparison.name,
        Abbreviated(comparison.left_title, comparison.left),
        Abbreviated(comparison.right_title, comparison.right),
        Abbreviated(comparison.judge_title, comparison.judge),
        number(compared_pairs(found)),
        *(number(found[name]) for name in ("left", "right", "ties")),
        share_with_interval(found["left_win_rate"], found["left_win_interval"]),
        share_with_interval(found["length_controlled_win_rate"], found["length_controlled_interval"]),
        *(number(found[name]) for name in ("first_in_both", "second_in_both")),
    )


def iteration_cells(iteration: IterationSummary) -> tuple[str, ...]:
    """One cell for each of `ITERATION_COLUMNS`."""
    return (
        iteration.model,
        iteration.judge,
        number(iteration.prompts),
        number(iteration.candidates),
        percent(iteration.unreadable),
        percent(iteration.ties),
        percent(iteration.level),
        percent(iteration.at_maximum),
        percent(iteration.unfinished),
    )


def outcome_rows(iterations: Sequence[IterationSummary]) -> list[tuple[str, ...]]:
    """Rows of `OUTCOME_COLUMNS`: what became of the prompts of each iteration, the most common outcome first."""
    return [
        (i.model, outcome, number(count), percent(count / i.prompts))
        for i in iterations
        for outcome, count in i.outcomes.items()
    ]


def flag_rows(iterations: Sequence[IterationSummary]) -> list[tuple[str, ...]]:
    """Rows of `FLAG_COLUMNS`: the candidates of each iteration that could not be chosen, by the reason."""
    return [
        (i.model, reason, number(count), percent(count / i.candidates))
        for i in iterations
        for reason, count in i.flagged.items()
    ]


def shared_rows(iterations: Sequence[IterationSummary]) -> list[tuple[str, ...]]:
    """Rows of `SHARED_COLUMNS`: the replies of each iteration that many prompts share."""
    return [
        (i.model, one.text, taken_as(one.is_answer), number(one.prompts), percent(one.prompts / i.prompts))
        for i in iterations
        for one in i.shared
    ]


def taken_as(is_answer: bool) -> str:
    """How the pair step takes a reply that many prompts share."""
    return "an answer, may be chosen" if is_answer else "flagged"


def length_rows(models: Sequence[ModelSummary], iterations: Sequence[IterationSummary]) -> list[tuple[str, ...]]:
    """Rows of `LENGTH_COLUMNS`, one for each model that has answers or pairs."""
    answers, pairs = {m.model: m for m in models}, {i.model: i for i in iterations}
    rows: list[tuple[str, ...]] = []
    for name in sorted({**answers, **pairs}, key=lambda name: (len(name), name)):
        model, iteration = answers.get(name), pairs.get(name)
        rows.append(
            (
                name,
                number(model.mean_words) if model else MISSING,
                *(
                    (
                        number(iteration.chosen_words),
                        number(iteration.rejected_words),
                        number(iteration.chosen_mean, 2),
                        number(iteration.rejected_mean, 2),
                    )
                    if iteration
                    else (MISSING,) * 4
                ),
                *(
                    (
                        percent(model.unfinished),
                        percent(model.repetitive),
                        number(model.distinct_1, 3),
                        number(model.distinct_2, 3),
                    )
                    if model
                    else (MISSING,) * 4
                ),
            )
        )
    return rows


def step_columns(engine_starts: bool = False) -> tuple[str, ...]:
    """Column titles of the table of steps, with a column of the engines' start if `engine_starts` is set."""
    *before, speed, dropped = _STEP_COLUMNS
    return (*before, *([_START_COLUMN] if engine_starts else []), speed, dropped)


def step_cells(step: StepSummary, engine_starts: bool = False) -> tuple[str, ...]:
    """One cell for each of `step_columns`. Drop reasons are on lines of their own, the most common first."""
    reasons = sorted(step.dropped.items(), key=lambda item: (-item[1], item[0]))
    return (
        step.model,
        step.step,
        number(step.rows),
        number(step.tokens),
        number(step.seconds),
        *([number(step.engine_start_seconds)] if engine_starts else []),
        number(step.tokens_per_second),
        "\n".join(f"{number(count)} {reason}" for reason, count in reasons) or "0",
    )


def _with_interval(model: ModelSummary) -> str:
    score = number(model.score, 1)
    if model.score is None or model.score_low is None or model.score_high is None:
        return score
    return f"{score} ({number(model.score_low, 1)}–{number(model.score_high, 1)})"
