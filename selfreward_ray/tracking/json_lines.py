"""The tracker that every run has: JSON lines in ``RUN/metrics``, and figures in ``RUN/metrics/figures``."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from selfreward_ray.store.folder import Folder
from selfreward_ray.tracking.tracker import TrackedRun

_LINES_PER_FILE = 1000
"""An object store cannot append: the newest file is written again as a whole."""


class JsonLines:
    """Writes a line for each call, in files whose names sort by time."""

    def __init__(self, run: TrackedRun) -> None:
        self._folder = Folder(run.uri) / "metrics"
        self._started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._file = 0
        self._lines: list[str] = []
        self._written = 0

    def metrics(self, series: str, values: Mapping[str, float], step: int, time: float) -> None:
        self._add(time=time, series=series, step=step, values=dict(values))

    def text(self, name: str, text: str, step: int, time: float) -> None:
        self._add(time=time, name=name, step=step, text=text)

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], step: int, time: float
    ) -> None:
        self._add(time=time, name=name, step=step, columns=list(columns), rows=[list(row) for row in rows])

    def figure(self, name: str, png: bytes, step: int, time: float) -> None:
        file = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{step}.png"
        (self._folder / "figures").write_bytes(file, png)
        self._add(time=time, name=name, step=step, figure=f"figures/{file}")

    def flush(self) -> None:
        if len(self._lines) > self._written:
            name = f"{self._started}-{self._file:04d}.jsonl"
            self._folder.write_bytes(name, "".join(self._lines).encode(errors="replace"))
            self._written = len(self._lines)

    def close(self) -> None:
        self.flush()

    def _add(self, **line: Any) -> None:
        self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        if len(self._lines) >= _LINES_PER_FILE:
            self.flush()
            self._file, self._lines, self._written = self._file + 1, [], 0


class MetricsReader:
    """Reads the metrics of the run in the folder `run`, while it is at work or later."""

    def __init__(self, run: str) -> None:
        self._folder = Folder(run) / "metrics"
        self._read = {"": 0}
        """Number of lines that were read, by file."""

    def new(self) -> Iterator[dict[str, Any]]:
        """The lines with ``series`` and ``values`` that were written since the previous call, in their order."""
        newest = max(self._read)
        for path in self._folder.files(".jsonl"):
            name = path.rpartition("/")[2]
            if name < newest:
                continue  # complete: a run writes to its newest file
            lines = self._folder.read_bytes(name).splitlines()
            yield from filter(None, map(_metrics, lines[self._read.get(name, 0) :]))
            self._read[name] = len(lines)


def newest_step(run: str, series: str) -> int | None:
    """The step of the last line of a series, from the newest file of metrics alone; None if that has none."""
    folder = Folder(run) / "metrics"
    for path in folder.files(".jsonl")[-1:]:
        lines = map(_metrics, reversed(folder.read_bytes(path.rpartition("/")[2]).splitlines()))
        return next((line["step"] for line in lines if line and line["series"] == series), None)
    return None


def _metrics(line: bytes) -> dict[str, Any] | None:
    """A line with metrics; None for another one, and for one that a machine has torn that lost its power."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"series", "step", "values"} <= found.keys() else None


def add_line(series: dict[int, dict[str, Any]], line: dict[str, Any]) -> None:
    """Add a line to the others of its series, by step. One that comes again replaces all from there on: a training goes
    on from its newest checkpoint, and a rejected model's successor is sampled anew."""
    for step in [step for step in series if step >= line["step"]]:
        del series[step]
    series[line["step"]] = line
