"""Print the findings of a check. A module of its own, because other tables import libraries that take longer to load
than a check takes."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from selfreward_ray.check.findings import Finding
from selfreward_ray.reporting.formatting import amount, visible


def print_checked(found: Sequence[Finding], seconds: float, console: Console | None = None) -> int:
    """Print the findings of a check and the number of problems, and return that number."""
    console = console or Console()
    width = max((len(finding.about) for finding in found), default=0)
    for finding in found:
        mark = ("✗", "red") if finding.problem else ("✓", "green")
        head = Text.assemble(mark, " ", (f"{finding.about:<{width}}", "bold"), "  ")
        console.print(head + Text(visible(finding.text)), soft_wrap=True)
    problems = sum(finding.problem for finding in found)
    ending = amount(problems, "problem") if problems else "no problem was found"
    console.print(Text(f"{ending} ({seconds:.1f} s)", style="red" if problems else "green"))
    return problems
