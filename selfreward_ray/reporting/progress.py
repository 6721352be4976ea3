"""Progress that a person can follow: a live bar on a terminal, a plain line now and then in a log."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from selfreward_ray.reporting.formatting import duration, number, visible

SECONDS_BETWEEN_LINES = 10

listeners: list[Callable[[str, str | None], None]] = []
"""Called with a step's label and its note, ``""`` while work goes on, None when it has ended."""


class Progress:
    """One step's progress, for a ``with`` block; one line about how it ended stays behind.

    `update` takes totals so far, not increments, and may be called as often as is handy.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._total, self._unit = visible(label), total, unit
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._started = self._next_line = self._clock()
        self._note = ""
        self._done = self._tokens = 0
        self._pace_from: tuple[float, int] | None = None  # since when work goes on, and what was done then
        self._live = Live(get_renderable=self._bar, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._started = self._clock()
        self._next_line = self._started
        if self._console.is_interactive:
            self._live.start()
        self._tell("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
        self._tell(None)
        seconds = f"{number(self._elapsed())} s"
        if kind is None:
            rows = self._rows() if self._done < self._total else f"{number(self._done)} {self._unit}"
            _print_mark(self._console, "✓", "green", self._label, rows, seconds, self._speed())
        else:
            _print_mark(self._console, "✗", "red", self._label, self._rows(), seconds, kind.__name__)

    def update(self, done: int, tokens: int = 0) -> None:
        """Say how many units are done and how many tokens were generated or trained, both since the start."""
        if done < self._done:  # thrown back to a checkpoint
            self._pace_from = None
        self._done, self._tokens = done, tokens
        if self._pace_from is None and not self._note:
            self._pace_from = (self._clock(), done)
        self._log()

    def note(self, text: str) -> None:
        """Say in a few words what goes on instead of the work; the next note replaces it, an empty one ends it."""
        if text != self._note:
            self._tell(text)
        self._note = visible(text)
        if text:
            self._pace_from = None
        self._log()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        _print_line(self._console, Text(visible(text), style="yellow"))

    def _tell(self, note: str | None) -> None:
        for listener in listeners:
            listener(self._label, note)

    def _log(self) -> None:
        if self._console.is_interactive or self._clock() < self._next_line:
            return
        self._next_line = self._clock() + SECONDS_BETWEEN_LINES
        _print_line(self._console, Text(_join(self._label, self._figures())))

    def _bar(self) -> Group:
        first = Table.grid(padding=(0, 2))
        first.add_row(
            Text(self._label, style="bold"), ProgressBar(total=max(self._total, 1), completed=self._done, width=40)
        )
        return Group(first, Text(self._figures(), style="dim"))

    def _figures(self) -> str:
        return _join(self._rows(), self._speed(), self._time(), self._note)

    def _rows(self) -> str:
        return f"{number(self._done)}/{number(self._total)} {self._unit}"

    def _speed(self) -> str:
        elapsed = self._elapsed()
        return f"{number(self._tokens / elapsed)} tok/s" if self._tokens and elapsed > 0 else ""

    def _time(self) -> str:
        """The time left is told by the pace since work last began: engines and workers take their time to start, and
        what an earlier run has done took none."""
        shown = f"{duration(self._elapsed())} elapsed"
        if self._pace_from is None or not self._pace_from[1] < self._done < self._total:
            return shown
        began, before = self._pace_from
        left = (self._clock() - began) * (self._total - self._done) / (self._done - before)
        return f"{shown}, about {duration(left)} left"

    def _elapsed(self) -> float:
        return self._clock() - self._started


def skipped(label: str, console: Console | None = None) -> None:
    """Print that a step's result is there from an earlier run."""
    _print_mark(console or Console(stderr=True), "·", "dim", visible(label), "already done")


def _print_mark(console: Console, mark: str, style: str, *parts: str) -> None:
    _print_line(console, Text.assemble((mark, style), " ", _join(*parts)))


def _print_line(console: Console, line: Text) -> None:
    # soft_wrap: a log keeps one line a message, however narrow its console claims to be.
    console.print(line, soft_wrap=True)


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)
