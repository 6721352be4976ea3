"""No log is silent for long: what is under way is said again, however long the code that does it says nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.text import Text

from selfreward_ray.reporting.formatting import duration, visible

SECONDS_BETWEEN_LINES = 10
_LOOKS_IN_BETWEEN = 20

_under_way: list[Callable[[], None]] = []
"""Each prints its line; the innermost, which is the last one, is asked."""
_spoken = time.monotonic()
"""When the last line was printed."""


def print_line(line: Text, console: Console | None = None) -> None:
    """Print a line, by default on standard error."""
    global _spoken
    _spoken = time.monotonic()
    # soft_wrap: one line for each message in a log, even if its console reports a small width.
    (console or Console(stderr=True)).print(line, soft_wrap=True)


@contextmanager
def said_again(say: Callable[[], None]) -> Iterator[None]:
    """Call `say`, in another thread, whenever no line was printed for ten seconds; within another one instead of it."""
    global _spoken
    if not _under_way:
        _spoken = time.monotonic()
    _start_watching()
    _under_way.append(say)
    try:
        yield
    finally:
        _under_way.remove(say)


@contextmanager
def doing(what: str, console: Console | None = None) -> Iterator[None]:
    """Print `what`, with the seconds since it began, whenever nothing else was printed for ten seconds."""
    began = time.monotonic()
    line = f"{visible(what)}  {{}} elapsed"
    with said_again(lambda: print_line(Text(line.format(duration(time.monotonic() - began))), console)):
        yield


@cache
def _start_watching() -> None:
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(SECONDS_BETWEEN_LINES / _LOOKS_IN_BETWEEN)
        if time.monotonic() - _spoken >= SECONDS_BETWEEN_LINES:
            for say in _under_way[-1:]:  # none, if the last one has just ended
                say()
