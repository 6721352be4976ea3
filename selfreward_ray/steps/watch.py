"""A run in the terminal while it is at work, from any machine that can read its folder."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from selfreward_ray.alarms.check import Fired, alarms_of
from selfreward_ray.plan import PlannedStep, plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.formatting import duration, number, percent
from selfreward_ray.reporting.terminal import alarm_lines
from selfreward_ray.steps.status import heading, status_lines
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import is_step
from selfreward_ray.tracking.json_lines import MetricsReader, add_line

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
"""Characters of a curve."""
_SHARES = {"accuracy", "prefix_hit_rate", "unreadable_share", "dropped_share", "mfu"}
_DIGITS = {"rows_left": 0, "tokens_per_second": 0, "peak_memory_gib": 1, "mean_score": 2}
_CURVES = ("loss", "reward_margin", "mean_score")
"""Metrics that are drawn as curves where a step has them."""


def watch(run: str, every: float, console: Console | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show the status of `run` and the metrics of the step under way, again every `every` seconds until the run is
    complete. Without a terminal they are printed once.
    """
    console = console or Console()
    view = _View(RunLayout(run))
    if not console.is_terminal:
        console.print(view.render(), soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(view.render(), refresh=True)
            if view.complete:
                return
            sleep(every)


class _View:
    def __init__(self, layout: RunLayout) -> None:
        self._layout = layout
        self._metrics = MetricsReader(layout.uri)
        self._series: dict[str, dict[int, dict[str, Any]]] = {}
        """Lines by series and step."""
        self._known: tuple[Any, tuple[Fired, ...]] = (None, ())
        """The alarms, with what they were read for."""
        self.complete = False

    def render(self) -> Group:
        for found in self._metrics.new():
            add_line(self._series.setdefault(found["series"], {}), found)
        layout = self._layout.current()
        recipe = layout.recipe()
        steps = plan(recipe, layout)
        shown = [heading(layout)]
        unfinished = 0
        for step, line in status_lines(steps):
            shown.append(line)
            unfinished += step is not None
            points = self._series.get(f"{step.model}/{step.short}") if step is not None else None
            # A step whose folder was removed is to be made again: its metrics are those of the one that is gone.
            if step is not None and points and is_step(step.folder):
                shown += [Text(f"    {text}", style="dim") for text in _lines_of(points)]
        shown += alarm_lines(self._alarms(steps, unfinished, recipe, layout), layout.rejections, recipe.iterations + 1)
        self.complete = not unfinished
        if self.complete:
            shown.append(Text(f"complete; the report is {self._layout.uri.rstrip('/')}/report.html"))
        return Group(*shown)

    def _alarms(
        self, steps: list[PlannedStep], unfinished: int, recipe: Recipe, layout: RunLayout
    ) -> tuple[Fired, ...]:
        """Read anew only where a step has ended, or a model was rejected: some alarms read tables."""
        state = unfinished, layout.rejections
        if self._known[0] != state:
            self._known = state, alarms_of(steps, recipe, layout)
        return self._known[1]


def _lines_of(points: dict[int, dict[str, Any]]) -> list[str]:
    """The newest metrics with their age, and curves."""
    newest = points[max(points)]
    age = duration(max(0.0, time.time() - newest["time"]))
    values = [
        f"{name.replace('_', ' ')} {_formatted(name, value)}"
        for name, value in newest["values"].items()
        if "/" not in name
    ]
    lines = [f"{number(max(points))} done, {age} ago", "  ".join(values)]
    for name in _CURVES:
        curve = [line["values"][name] for _, line in sorted(points.items()) if name in line["values"]]
        if len(curve) > 1:
            first, last = _formatted(name, curve[0]), _formatted(name, curve[-1])
            lines.append(f"{name.replace('_', ' ')} {first} {_sparkline(curve)} {last}")
    return lines


def _formatted(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{percent(value)} %"
    if name in _DIGITS:
        return number(value, _DIGITS[name])
    return f"{value:.4g}"


def _sparkline(values: list[float]) -> str:
    """`values` as at most `_WIDTH` bars, each the mean of its part; the lowest bar is their minimum."""
    size = min(_WIDTH, len(values))
    parts = [values[i * len(values) // size : (i + 1) * len(values) // size] for i in range(size)]
    means = [sum(part) / len(part) for part in parts]
    low, spread = min(means), max(means) - min(means)
    return "".join(_BARS[round((mean - low) / spread * (len(_BARS) - 1)) if spread else 0] for mean in means)
