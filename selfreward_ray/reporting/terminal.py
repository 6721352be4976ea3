"""Tables on the terminal: the models and steps of a run, and the counts of a step."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from selfreward_ray.alarms.check import Fired
from selfreward_ray.reporting.columns import (
    TEXT_COLUMNS,
    model_cells,
    model_columns,
    step_cells,
    step_columns,
    taken_as,
)
from selfreward_ray.reporting.conclusion import conclusion
from selfreward_ray.reporting.findings import by_models
from selfreward_ray.reporting.formatting import number, share_with_interval, shortened, visible
from selfreward_ray.reporting.summary import RunSummary, rejection_mark, rejection_notes
from selfreward_ray.store.rejection import Rejection

_STYLES = {"better": "green", "worse": "red"}


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print what got better, by pairs of models, the tables of models and steps, which fit into 80 columns, and at
    last the answer in one sentence."""
    last = summary.planned_models
    for line in alarm_lines((), summary.rejections, last):
        console.print(line, highlight=False)
    for models, found in by_models(summary.findings):
        mark = rejection_mark(models, summary.rejections, last)
        console.print(Text.assemble((visible(models), "bold"), (f"  {mark}" if mark else "", "yellow")))
        for finding in found:
            head = Text.assemble((finding.outcome, _STYLES.get(finding.outcome, "")), f"  {finding.kind.lower()}: ")
            console.print(Padding(head + Text(visible(finding.text)), (0, 0, 0, 2)), highlight=False)
    for line in alarm_lines(summary.alarms, (), last):
        console.print(line, highlight=False)
    console.print()
    rows = [model_cells(model, summary.scorer) for model in summary.models]
    console.print(_table(f"{summary.name}: models", model_columns(summary.scorer), rows))
    console.print(_table(f"{summary.name}: steps", step_columns(), map(step_cells, summary.steps)))
    console.print(Text(visible(conclusion(summary)), style="bold"), highlight=False)


def alarm_lines(alarms: Iterable[Fired], rejections: Sequence[Rejection], last: int) -> list[Text]:
    """A line for each alarm, for each rejected model, and for the model to use instead of M(`last`) if that is one."""
    lines = [*(alarm.line for alarm in alarms), *rejection_notes(rejections, last)]
    return [Text(visible(line), style="yellow") for line in lines]


def print_counts(rows: dict[str, int], dropped: dict[str, int], console: Console | None = None) -> None:
    """Print the number of rows in each table of a step, and of dropped rows by reason, the most common first."""
    reasons = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    kept = rows.get("rows", 0)
    cells = [(number(kept), "row" if kept == 1 else "rows")]
    # The table `offered` holds what the step was given: its rows and the dropped ones say how many that were.
    cells += [(number(count), f"in {table}") for table, count in rows.items() if table not in ("rows", "offered")]
    cells += [(number(count), f"dropped: {reason}") for reason, count in reasons]
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    for count, what in cells:
        table.add_row(Text(count), Text(visible(what)))
    (console or Console()).print(table)


def print_flags(metrics: dict[str, Any], console: Console | None = None) -> None:
    """Print how many replies a pair step flagged and why, and the replies that many prompts share."""
    flagged = metrics.get("flagged", {})
    lines = [f"{number(count)} flagged, which cannot be chosen: {reason}" for reason, count in flagged.items()]
    lines += [
        f"{number(one['prompts'])} prompts share the reply {shortened(one['text'], 60)!r}: {taken_as(one['is_answer'])}"
        for one in metrics.get("shared_texts", [])
    ]
    for line in lines:
        (console or Console()).print(Text(visible(line)), soft_wrap=True)


def print_outcomes(outcomes: dict[str, Any], console: Console | None = None) -> None:
    """Print the result of a comparison, the fields of `evaluation.outcomes.Outcomes`: won and lost, the win rates with
    their 95 % intervals, and the position bias."""
    won, lost, ties, first, second = (
        number(outcomes[name]) for name in ("left", "right", "ties", "first_in_both", "second_in_both")
    )
    rate = share_with_interval(outcomes["left_win_rate"], outcomes["left_win_interval"])
    controlled = outcomes["length_controlled_win_rate"]
    at_equal_length = (
        f"{share_with_interval(controlled, outcomes['length_controlled_interval'])} %"
        if controlled is not None
        else "not estimated (too few pairs that are no ties, or one side is the longer one in all of them)"
    )
    lines = [
        f"left won {won}, right won {lost}, {ties} ties",
        f"left's win rate: {rate} %, with ties as half wins",
        f"left's length-controlled win rate: {at_equal_length}",
        f"position bias: both orders preferred the first reply {first} times, the second {second} times",
    ]
    (console or Console()).print("\n".join(lines), soft_wrap=True, highlight=False)


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title=Text(visible(title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    for column in columns:
        is_text = column in TEXT_COLUMNS
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        # Text, not str: rich would read square brackets in a name or a reason as markup.
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table
