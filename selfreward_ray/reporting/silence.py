"""Repeat the line of the running step whenever nothing was printed for ten seconds, also while its code is busy."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.text import Text

from selfreward_ray.reporting.formatting import duration, visible

SECONDS_BETWEEN_LINES = 10
_SECONDS_BETWEEN_LOOKS = 0.5

_running: list[Callable[[], None]] = []
"""Functions that print a line each. Only the last one, the innermost, is called."""
_waits: dict[object, tuple[float, str]] = {}
"""Since when and for what threads wait."""
_printed = time.monotonic()
"""When the last line was printed."""


def print_line(line: Text, console: Console | None = None) -> None:
    """Print a line, by default on standard error."""
    global _printed
    _printed = time.monotonic()
    # soft_wrap: one line for each message in a log, even if its console reports a small width.
    (console or Console(stderr=True)).print(line, soft_wrap=True)


@contextmanager
def repeated(say: Callable[[], None]) -> Iterator[None]:
    """Call `say` in another thread whenever no line was printed for ten seconds. Of nested ones only the innermost is
    called."""
    global _printed
    if not _running:
        _printed = time.monotonic()
    _start_watching()
    _running.append(say)
    try:
        yield
    finally:
        _running.remove(say)


@contextmanager
def doing(what: str, console: Console | None = None) -> Iterator[None]:
    """Print `what`, with the seconds since it began, whenever nothing else was printed for ten seconds."""
    began = time.monotonic()
    line = f"{visible(what)}  {{}} elapsed"
    with repeated(lambda: print_line(Text(line.format(duration(time.monotonic() - began))), console)):
        yield


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Print `what` beside the repeated line if it takes more than ten seconds, in whatever thread."""
    _start_watching()
    mark = object()
    _waits[mark] = (time.monotonic(), what)
    try:
        yield
    finally:
        del _waits[mark]


def _say_wait() -> None:
    """Print the longest of the waits, if it is too long."""
    began, what = min(list(_waits.values()), default=(time.monotonic(), ""))
    waited = time.monotonic() - began
    if waited >= SECONDS_BETWEEN_LINES:
        print_line(Text(f"{visible(what)}  {duration(waited)} elapsed"))


@cache
def _start_watching() -> None:
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        if time.monotonic() - _printed >= SECONDS_BETWEEN_LINES:
            for say in _running[-1:]:  # none, if the last one has just ended
                say()
            _say_wait()
