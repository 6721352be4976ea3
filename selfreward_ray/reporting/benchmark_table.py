"""The figures of a model on standard benchmarks as a table on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfreward_ray.reporting.formatting import number, visible


def print_benchmark(figures: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print the rows of `evaluation.tasks.figures`, with lm-eval's standard errors.

    The parts of a group are left out if the group has a figure of its own.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("task", "metric"):
        table.add_column(column)
    for column in ("value", "std. error", "few-shot", "documents"):
        table.add_column(column, justify="right", no_wrap=True)
    whole = {row["task"] for row in figures}
    for row in figures:
        if row["group"] in whole:
            continue
        metric = row["metric"] if row["filter"] == "none" else f"{row['metric']}, {row['filter']}"
        numbers = (
            number(row["value"], 4), number(row["standard_error"], 4), number(row["few_shot"]), number(row["documents"])
        )  # fmt: skip
        # Text, not str: rich would read square brackets in a name as markup.
        table.add_row(*map(Text, (visible(row["task"]), visible(metric), *numbers)))
    (console or Console()).print(table)
