"""Rows of any table as text for a terminal."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from selfreward_ray.reporting.formatting import amount, visible

_ONE_LINE = 60
"""Characters of a text that stands beside its name; a longer one begins a line of its own."""


def say(console: Console, text: str, indent: int = 0, style: str = "") -> None:
    """Print `text`, which may be anybody's, with every line of it behind `indent` blanks.

    A terminal wraps long lines there; for a file or a pipe each stays one line.
    """
    shown = Text(visible(text), style=style)
    if console.is_terminal:
        console.print(Padding(shown, (0, 0, 0, indent)), highlight=False)
        return
    for line in shown.split("\n", allow_blank=True):
        console.print(Text(" " * indent) + line, highlight=False, soft_wrap=True)


def print_row(console: Console, row: dict[str, Any]) -> None:
    """Print a row: its id, and below it every field that is not empty. Token ids are shown as a count."""
    say(console, str(row.get("id", "a row")), style="bold")
    _fields(console, row, 2)


def _fields(console: Console, row: dict[str, Any], indent: int) -> None:
    for name, value in row.items():
        if name != "id" and value not in (None, "", []):
            _field(console, name.replace("_", " "), value, indent)


def _field(console: Console, name: str, value: Any, indent: int) -> None:
    if isinstance(value, dict):
        say(console, f"{name}: {value.get('id', '')}".rstrip(), indent)
        _fields(console, value, indent + 2)
    elif isinstance(value, list) and isinstance(value[0], dict):
        for number, each in enumerate(value):
            _field(console, f"{name} {number}", each, indent)
    elif isinstance(value, list) and isinstance(value[0], int):
        say(console, f"{name}: {amount(len(value), 'token')}", indent)
    elif isinstance(value, list):
        for each in value:
            _field(console, name, each, indent)
    else:
        print_text(console, name, _scalar(value), indent)


def print_text(console: Console, name: str, text: str, indent: int) -> None:
    """Print a named text: a short one beside its name, any other one below it."""
    if "\n" in text or len(text) > _ONE_LINE:
        say(console, f"{name}:", indent)
        say(console, text, indent + 2)
    else:
        say(console, f"{name}: {text}", indent)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
