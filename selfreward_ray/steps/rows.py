"""Rows of a step in the terminal: all, those that fulfil conditions, or some of them by chance."""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console

from selfreward_ray.errors import UserError
from selfreward_ray.reporting.formatting import amount, number
from selfreward_ray.reporting.row_text import print_row, say
from selfreward_ray.store.blocks import tables_of
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lookup import Group, groups_where, read_group
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import is_step, missing_rows
from selfreward_ray.store.tables import paths_of, recorded_rows


def print_rows(
    source: str, where: Sequence[str] = (), sample: int | None = None, console: Console | None = None
) -> None:
    """Print the rows of the step `source`, or of another table of a step, such as ``RUN/M2/pairs/dropped``.

    Those that fulfil all conditions `where`, and of these `sample` by chance, others at each call. Raises `UserError`
    for no table, for a condition that its rows cannot fulfil, and for damaged or lost files.
    """
    console = console or Console()
    table = _table(source)
    groups = groups_where(table, where)
    if sample is not None:
        groups = iter(_sampled(list(groups), sample))
    shown = 0
    for group in groups:
        for row in read_group(table, group):
            print_row(console, row)
            console.print()
            shown += 1
    say(console, f"{number(shown)} of {amount(recorded_rows(table), 'row')}", style="dim")


def _table(source: str) -> Folder:
    """The table that `source` names. Raises `UserError` if there is none, or if it has lost rows."""
    given = Folder(source)
    if paths_of(given):
        return given
    if not is_step(given):
        raise UserError(
            f"{source} is no step's folder and no table of one; give a folder such as RUN/M2/pairs, or "
            "RUN/M2/pairs/dropped"
        )
    manifest = read_manifest(given)
    faults = missing_rows(given, manifest) if manifest else []
    if faults:
        raise UserError(faults[0])
    if not paths_of(given / "rows"):
        tables = [name for name in tables_of(given) if paths_of(given / name)]
        state = "is finished and has" if manifest else "is not finished and has as yet"
        others = f"; its tables are: {', '.join((given / name).uri for name in tables)}" if tables else ""
        raise UserError(f"the step {source} {state} no rows{others}")
    return given / "rows"


def _sampled(groups: list[Group], count: int) -> Iterator[Group]:
    """`count` rows of the groups by chance, in the order of the table."""
    places = [(place, row) for place, group in enumerate(groups) for row in group.rows]
    chosen = sorted(random.sample(places, min(count, len(places))))
    for place, rows in groupby(chosen, key=lambda each: each[0]):
        yield Group(groups[place].path, groups[place].number, tuple(row for _, row in rows))
