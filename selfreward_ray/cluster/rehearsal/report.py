"""What a rehearsal found, on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfreward_ray.cluster.rehearsal.rehearse import Rehearsed
from selfreward_ray.reporting.wording import duration, number, visible

_COLUMNS = ("step", "seconds", "nodes started", "nodes used", "nodes let go", "waits")


def print_rehearsed(found: Rehearsed, console: Console | None = None) -> None:
    """Print what was reduced and replaced, what each step did to the cluster, and what is wrong."""
    console = console or Console()
    _list(console, "Reduced for the rehearsal", found.reductions)
    _list(console, "In the place of", found.replaced)
    table = Table(title="Steps and nodes", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for step in found.steps:
        waits = ", ".join(f"{what} {seconds:g} s" for what, seconds in step["waits"].items())
        nodes = [", ".join(step[what]) for what in ("started", "used", "ended")]
        seconds = number(step["seconds"]) if step["seconds"] else "killed"
        table.add_row(*(Text(visible(cell)) for cell in (step["label"], seconds, *nodes, waits)))
    console.print(table)
    _list(console, "Nodes that were started and not used", found.idle, style="red")
    _list(console, "Nodes that were not let go", found.left, style="red")
    _list(console, "The real run would be rejected", found.rejected, style="red")
    wrong = bool(found.idle or found.left or found.rejected)
    outcome = "with faults, see above" if wrong else "nothing would be rejected, and every node was used and let go"
    console.print(
        Text(f"The whole loop ran in {duration(found.seconds)}: {outcome}", style="red" if wrong else "green")
    )


def _list(console: Console, title: str, lines: list[str], style: str = "") -> None:
    if lines:
        console.print(Text(title, style=f"bold {style}".strip()))
        for line in lines:
            console.print(Text(f"  {visible(line)}", style=style), soft_wrap=True)
