"""Progress of steps: a live bar on a terminal, or a plain line every few seconds in a log."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from selfreward_ray.credentials import masked
from selfreward_ray.reporting.formatting import amount, duration, number, percent, visible
from selfreward_ray.reporting.silence import SECONDS_BETWEEN_LINES, print_line, repeated

listeners: list[Callable[[str, str | None], None]] = []
"""Callbacks for a step's label and its note. The note is ``""`` while the step works and None when it has ended."""

recorders: list[Callable[[str, Mapping[str, float], int], None]] = []
"""Callbacks for a step's label, metrics of it, and the number of units done when they were measured."""


class Progress:
    """Context manager that shows the progress of a step, and prints one line when the step ends.

    `total` is the number of units, `unit` their name in the plural.
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
        self._note = self._shown = self._result = self._aside = self._team = ""
        self._done = self._tokens = 0
        self.start_seconds: float | None = None
        """Seconds until work began: the start of engines or workers. None before that."""
        self._waited = 0.0  # seconds of notes that have ended
        self._waits_from: float | None = None  # time at which the present note began
        self._pace_from: tuple[float, int] | None = None  # time at which work began or resumed, and units done then
        self._live = Live(get_renderable=self._bar, console=self._console, transient=True, refresh_per_second=4)
        self._repeated = repeated(self._say_again)

    def __enter__(self) -> Self:
        self._started = self._clock()
        self._next_line = self._started
        if self._console.is_interactive:
            self._live.start()
        self._repeated.__enter__()
        self._tell("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._repeated.__exit__(None, None, None)
        self._live.stop()
        self._tell(None)
        seconds = f"{number(self._elapsed())} s"
        if kind is None:
            rows = self._rows() if self._done < self._total else amount(self._done, self._unit.removesuffix("s"))
            done = self._result or rows
            figures = self._shown, self._speed(), self._aside
            _print_mark(self._console, "✓", "green", self._label, done, seconds, *figures)
        else:
            interrupted = issubclass(kind, KeyboardInterrupt)
            style, why = ("yellow", "interrupted") if interrupted else ("red", kind.__name__)
            _print_mark(self._console, "✗", style, self._label, self._rows(), seconds, why)

    def update(self, done: int, tokens: int = 0) -> None:
        """Report totals: units done, and tokens generated or trained since the start. May be called at any rate."""
        if done < self._done:  # resumed from a checkpoint
            self._pace_from = None
        self._done, self._tokens = done, tokens
        if self._pace_from is None and not self._note:
            self._pace_from = (self._clock(), done)
            self.start_seconds = self._elapsed() if self.start_seconds is None else self.start_seconds
        self._log()

    def record(self, values: Mapping[str, float], at: int) -> None:
        """Give metrics of the step to the `recorders`; `at` units were done when they were measured.

        ``loss`` and ``accuracy``, a fraction, are also shown beside the number of units.
        """
        loss, accuracy = values.get("loss"), values.get("accuracy")
        if loss is not None:
            self._shown = _join(
                f"loss {number(loss, 3)}", "" if accuracy is None else f"accuracy {percent(accuracy)} %"
            )
        for recorder in recorders:
            recorder(self._label, values, at)

    def note(self, text: str) -> None:
        """Show in a few words what the step is waiting for. A new note replaces it; an empty one clears it."""
        if text != self._note:
            self._tell(text)
        self._note = visible(masked(text))
        if text:
            self._pace_from = None
            self._waits_from = self._clock() if self._waits_from is None else self._waits_from
        elif self._waits_from is not None:
            self._waited += self._clock() - self._waits_from
            self._waits_from = None
        self._log()

    def team(self, workers: int, wanted: int) -> None:
        """Show with how many of the `wanted` workers the step is done, while some are missing. A permanent line says
        when they are lost and when they are back."""
        told = f"{number(workers)} of {number(wanted)} workers"
        if told != self._team and (self._team or workers < wanted):
            self.say(f"{self._label}: goes on with {told}")
        self._team = told if workers < wanted else ""

    def result(self, text: str) -> None:
        """Show `text` instead of the units when the step has ended, for a step that makes something else than units."""
        self._result = visible(text)

    def aside(self, text: str) -> None:
        """Show `text` at the end of the line with which the step ends."""
        self._aside = visible(text)

    def say(self, text: str) -> None:
        """Print a permanent line."""
        warn(text, self._console)

    def _tell(self, note: str | None) -> None:
        for listener in listeners:
            listener(self._label, note)

    def _log(self) -> None:
        if self._clock() >= self._next_line:
            self._say_again()

    def _say_again(self) -> None:
        if not self._console.is_interactive:
            self._next_line = self._clock() + SECONDS_BETWEEN_LINES
            print_line(Text(_join(self._label, self._figures())), self._console)

    def _bar(self) -> Group:
        first = Table.grid(padding=(0, 2))
        first.add_row(
            Text(self._label, style="bold"), ProgressBar(total=max(self._total, 1), completed=self._done, width=40)
        )
        return Group(first, Text(self._figures(), style="dim"))

    def _figures(self) -> str:
        return _join(self._rows(), self._shown, self._team, self._speed(), self._time(), self._note)

    def _rows(self) -> str:
        return f"{number(self._done)}/{number(self._total)} {self._unit}"

    def _speed(self) -> str:
        """Without the seconds of notes: the start of engines and workers, fetching, writing."""
        waits = 0.0 if self._waits_from is None else self._clock() - self._waits_from
        worked = self._elapsed() - self._waited - waits
        return f"{number(self._tokens / worked)} tok/s" if self._tokens and worked > 0 else ""

    def _time(self) -> str:
        """Elapsed time, and the time left at the speed since work began or resumed. The start of engines and workers,
        and units of an earlier run, would distort the speed."""
        shown = f"{duration(self._elapsed())} elapsed"
        if self._pace_from is None or not self._pace_from[1] < self._done < self._total:
            return shown
        began, before = self._pace_from
        left = (self._clock() - began) * (self._total - self._done) / (self._done - before)
        return f"{shown}, about {duration(left)} left"

    def _elapsed(self) -> float:
        return self._clock() - self._started


def warn(text: str, console: Console | None = None) -> None:
    """Print a line that the user should notice, by default on standard error."""
    print_line(Text(visible(masked(text)), style="yellow"), console)


def skipped(label: str, console: Console | None = None) -> None:
    """Print that a step was finished by an earlier run."""
    _print_mark(console, "·", "dim", visible(label), "already done")


def _print_mark(console: Console | None, mark: str, style: str, *parts: str) -> None:
    print_line(Text.assemble((mark, style), " ", _join(*parts)), console)


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)
