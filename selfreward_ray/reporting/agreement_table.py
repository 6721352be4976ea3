"""The agreement of a judge with human rankings as a table on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfreward_ray.evaluation.agreement import RULE
from selfreward_ray.evaluation.bootstrap import RESAMPLES
from selfreward_ray.reporting.formatting import MISSING, number, percent, visible

_FIGURES = (
    # Label, name of the field, and what it is over.
    ("pairwise accuracy %", "pairwise_accuracy", "pairs"),
    ("5-best %", "five_best", "replies with the best score"),
    ("exact match %", "exact_match", "sets"),
    ("Spearman", "spearman", "sets"),
    ("Kendall tau-b", "kendall", "sets"),
)
_CORRELATIONS = ("spearman", "kendall")


def print_agreement(tables: Mapping[str, Mapping[str, Any]], best_score: str, console: Console | None = None) -> str:
    """Print tables of the fields of `evaluation.agreement.Agreement`, by title, and below them how they are counted.

    The tables are of the same replies. `best_score` says which score counts for 5-best. Returns the text below the
    tables.
    """
    console = console or Console()
    for title, figures in tables.items():
        console.print(_table(title, figures))
    caption = _caption(best_score, next(iter(tables.values())))
    console.print(Text(visible(caption)))
    return caption


def _table(title: str, figures: Mapping[str, Any]) -> Table:
    table = Table(title=Text(visible(title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("over")
    for label, name, unit in _FIGURES:
        interval = figures["intervals"][name]
        shown = MISSING if interval is None else " to ".join(_value(name, end) for end in interval)
        over = f"{number(figures['counts'][name])} {unit}"
        table.add_row(*map(Text, (label, _value(name, figures[name]), shown, over)))
    table.add_row(
        "tied pairs %", percent(figures["tied"]), "", f"{number(figures['counts']['pairwise_accuracy'])} pairs"
    )
    table.add_row("without a score %", percent(figures["unreadable"]), "", "all replies")
    return table


def _caption(best_score: str, figures: Mapping[str, Any]) -> str:
    return (
        f"{number(figures['sets'])} sets measured, {number(figures['sets_left_out'])} left out. {RULE} 5-best: the "
        f"share of the replies with {best_score}, that have the best human rank of their set. Intervals: percentile "
        f"bootstrap over sets, {number(RESAMPLES)} resamples, fixed seed."
    )


def _value(name: str, value: float | None) -> str:
    return number(value, 3) if name in _CORRELATIONS else percent(value)
