"""The trackers of a run, and what they are told."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from selfreward_ray.alarms.check import fired_after
from selfreward_ray.extensions import tracker_named
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet
from selfreward_ray.reporting import progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest, read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_files
from selfreward_ray.tracking.figures import histogram
from selfreward_ray.tracking.json_lines import JsonLines
from selfreward_ray.tracking.outlet import Outlet
from selfreward_ray.tracking.tracker import TrackedRun, Tracker

_ANSWERS = 8
"""Number of answers in a table of a model's evaluation."""


@contextmanager
def tracked(recipe: Recipe, layout: RunLayout, steps: Iterable[PlannedStep]) -> Iterator[None]:
    """Give the trackers of `recipe` what the `steps` of a run measure inside the block. No tracker is opened if all
    steps are finished.

    Raises `UserError` if a tracker cannot be opened. One that fails later is left out, with one line that says so.
    """
    steps = list(steps)
    if all(read_manifest(step.folder) is not None for step in steps):
        yield
        return
    run = TrackedRun(layout.uri, _identity(layout.root), recipe.name, recipe.tracking.project, recipe.model_dump())
    trackers: dict[str, Tracker] = {"JSON lines": JsonLines(run)}
    for name in dict.fromkeys(recipe.tracking.trackers):
        trackers[name] = tracker_named(name)(run)
    outlets = [Outlet(name, tracker, progress.warn) for name, tracker in trackers.items()]
    tracking = RunTracking(steps, outlets, recipe, layout)
    progress.listeners.append(tracking.hear)
    progress.recorders.append(tracking.record)
    try:
        tracking.begin()
        yield
    finally:
        progress.recorders.remove(tracking.record)
        progress.listeners.remove(tracking.hear)
        tracking.close()


def _identity(root: Folder) -> str:
    """The run's id for trackers, made the first time."""
    metrics = root / "metrics"
    if not metrics.is_file("run.json"):
        metrics.write_json("run.json", {"id": uuid.uuid4().hex})
    return str(metrics.read_json("run.json")["id"])


class RunTracking:
    """Translates what `progress` tells into calls of the trackers behind `outlets`."""

    def __init__(self, steps: Iterable[PlannedStep], outlets: list[Outlet], recipe: Recipe, layout: RunLayout) -> None:
        self._steps = {step.label: step for step in steps}
        self._outlets = outlets
        self._recipe, self._layout = recipe, layout

    def begin(self) -> None:
        self._put(lambda tracker, now: tracker.text("recipe", self._layout.recipe_text(), 0, now))

    def record(self, label: str, values: Mapping[str, float], at: int) -> None:
        """Metrics of a step that is under way."""
        step = self._steps.get(label)
        numbers = {name: float(value) for name, value in values.items() if name != "step"}
        if step is not None:
            self._put(lambda tracker, now: tracker.metrics(f"{step.model}/{step.short}", numbers, at, now))

    def hear(self, label: str, note: str | None) -> None:
        """A step has ended if `note` is None; it is finished if it has a manifest."""
        step = self._steps.get(label)
        if note is not None or step is None:
            return
        try:
            manifest = read_manifest(step.folder)
            if manifest is not None:
                self._finished(step, manifest)
        except OSError as error:  # of the storage, which the run itself tries again
            progress.warn(f"the metrics of {label} could not be read: {error}")

    def close(self) -> None:
        for outlet in self._outlets:
            outlet.close()

    def _finished(self, step: PlannedStep, manifest: Manifest) -> None:
        number = int(step.model.removeprefix("M"))
        values = {
            "rows": float(manifest.rows.get("rows", 0)),
            "dropped": float(sum(manifest.dropped.values())),
            "tokens": float(manifest.tokens),
            "seconds": manifest.seconds,
            **numbers(manifest.metrics),
        }
        self._put(lambda tracker, now: tracker.metrics(step.short, values, number, now))
        if alarms := fired_after(step, self._recipe, self._layout):
            text = "\n".join(alarm.line for alarm in alarms)
            self._put(lambda tracker, now: tracker.text(f"alarms/{step.short}", text, number, now))
        if scores := manifest.metrics.get("scores"):
            png = histogram(scores, f"{step.label}: scores")
            self._put(lambda tracker, now: tracker.figure(f"{step.short}/scores", png, number, now))
        if step.name == "evaluate":
            sets = (row for _, rows in read_files(step.folder / "rows", EvaluatedSet) for row in rows)
            rows = [(s.answer.prompt, s.answer.text) for s in islice(sets, _ANSWERS)]
            columns = ("prompt", "answer")
            self._put(lambda tracker, now: tracker.table("evaluate/answers", columns, rows, number, now))

    def _put(self, call: Any) -> None:
        now = time.time()
        for outlet in self._outlets:
            outlet.put(lambda tracker: call(tracker, now))


def numbers(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """All numbers in `metrics`, those of mappings inside with names as in ``agreement/spearman``."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[prefix + name] = float(value)
    return found
