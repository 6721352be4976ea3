"""Print the findings of a rehearsal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfreward_ray.cluster.rehearsal.rehearse import INTERRUPTED, Rehearsed
from selfreward_ray.reporting.formatting import duration, number, visible

_A_WAIT = 1.0
"""Minimum length of a wait that is printed, in seconds."""


def print_rehearsed(found: Rehearsed, console: Console | None = None) -> None:
    """Print reductions and replacements, the nodes and waits of each step, and the problems found."""
    console = console or Console()
    _list(console, "Reduced for the rehearsal", found.reductions)
    _list(console, "In the place of", found.replaced)
    console.print(_table(found.steps))
    _list(console, "Nodes that the cluster file keeps (min_workers)", found.kept)
    _list(console, "Nodes that were started and not used", found.idle, style="red")
    _list(console, "Nodes that were not let go", found.left, style="red")
    _list(console, "The real run would be rejected", found.rejected, style="red")
    _list(console, "What could not be seen of the cluster", found.unseen, style="red")
    if not found.interrupted:
        console.print(Text(f"Resuming was not rehearsed: the run has no step {INTERRUPTED}", style="yellow"))
    wrong = found.faulty
    nodes = "every other node" if found.kept else "every node"
    outcome = "with faults, see above" if wrong else f"nothing would be rejected, and {nodes} was used and let go"
    console.print(
        Text(f"The whole loop ran in {duration(found.seconds)}: {outcome}", style="red" if wrong else "green")
    )


def _table(steps: list[dict[str, Any]]) -> Table:
    """A row for each step, with one line for each kind of node event and each wait."""
    table = Table(title="Steps and nodes", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("nodes and waits")
    for step in steps:
        lines = [
            f"{what}: {', '.join(nodes)}"
            for what, nodes in (("started", step["started"]), ("used", step["used"]), ("let go", step["ended"]))
            if nodes
        ]
        lines += [f"{what}: {seconds:.0f} s" for what, seconds in step["waits"].items() if seconds >= _A_WAIT]
        seconds = "killed" if step["seconds"] is None else number(step["seconds"])
        table.add_row(*(Text(visible(cell)) for cell in (step["label"], seconds, "\n".join(lines))))
    return table


def _list(console: Console, title: str, lines: list[str], style: str = "") -> None:
    if lines:
        console.print(Text(title, style=f"bold {style}".strip()))
        for line in lines:
            console.print(Text(f"  {visible(line)}", style=style), soft_wrap=True)
