"""What a run does when alarms fire: it warns, stops, or rejects a model."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from selfreward_ray.alarms.check import Fired, fired_after, rejection_of
from selfreward_ray.errors import UserError
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.progress import warn
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.rejection import write_rejection
from selfreward_ray.store.run import RunLayout


class StoppedByAlarm(UserError):
    """An alarm whose reaction ends the run."""


class RolledBack(Exception):
    """A model has been rejected and recorded: the remaining steps are to be planned again."""


class Reactions:
    """Reacts to the alarms of the `steps` of a run as they are finished.

    A step before the newest trained model is past: its model has been used, so nothing is stopped or rejected for it.
    """

    def __init__(self, steps: Sequence[PlannedStep], recipe: Recipe, layout: RunLayout) -> None:
        self._steps, self._recipe, self._layout = steps, recipe, layout
        trained = [n for n, step in enumerate(steps) if step.made_in and read_manifest(step.folder) is not None]
        # The run may have more models than this recipe plans: `selfreward iterate` makes them.
        beyond = read_manifest(layout.training(recipe.iterations + 2)) is not None
        self._past = {step.label for step in steps[: len(steps) if beyond else max(trained, default=0)]}

    def after(self, step: PlannedStep, fresh: bool) -> None:
        """React to the alarms of `step`, a finished one; `fresh` says whether this call of the run has finished it.

        All alarms of a fresh step are printed. Raises `StoppedByAlarm`, or `RolledBack` once the rejected model is
        recorded.
        """
        if step.label in self._past:
            return
        alarms = self._open(fired_after(step, self._recipe, self._layout))
        if fresh:
            self._say_if_unmeasured(step)
            for alarm in alarms:
                warn(alarm.line)
        if stopping := _stopping(alarms):
            raise StoppedByAlarm(self._stopped(stopping))
        for alarm in alarms:
            if alarm.reaction == "rollback":
                self._reject(alarm, step)

    def stopped(self, alarms: Iterable[Fired]) -> str | None:
        """Why the run, of which all `alarms` are given, goes no further, and how it would; None if none stops it."""
        stopping = _stopping(self._open(alarm for alarm in alarms if alarm.step not in self._past))
        return self._stopped([a for a in stopping if a.step == stopping[0].step]) if stopping else None

    def taken(self, alarms: Iterable[Fired]) -> tuple[Fired, ...]:
        """`alarms` with what the run did, which need not be the reaction that the recipe names."""
        return tuple(replace(alarm, taken=self._taken(alarm)) for alarm in alarms)

    def _taken(self, alarm: Fired) -> str:
        rejection = self._layout.rejection(alarm.model)
        if rejection is not None and (rejection.alarm, rejection.step) == (alarm.alarm, alarm.step):
            return f"M{alarm.model} is rejected"
        if alarm.reaction == "warn":
            return "warned"
        if rejection is not None:
            return f"none: M{alarm.model} is rejected by the alarm {rejection.alarm}"
        if alarm.step in self._past:
            return "none: a later model was trained already"
        return "the run is stopped" if _stopping([alarm]) else f"none yet: M{alarm.model} is to be rejected"

    def _open(self, alarms: Iterable[Fired]) -> list[Fired]:
        """Those of `alarms` whose model is not rejected already."""
        return [alarm for alarm in alarms if self._layout.rejection(alarm.model) is None]

    def _stopped(self, alarms: list[Fired]) -> str:
        said = " ".join(f"{alarm.alarm}: {alarm.text}" for alarm in alarms)
        uri = self._layout.uri.rstrip("/")
        overrides = " ".join(f"alarms.{alarm.alarm}.reaction=warn" for alarm in alarms)
        more = any(read_manifest(step.folder) is None for step in self._steps)
        aim = "continue in spite of it" if more else "accept the finished run in spite of it"
        return (
            f"the run is stopped after {alarms[0].step} by an alarm. {said} Everything finished is kept, and "
            f"{uri}/report.html shows it. To {aim}: {self._command(uri)} {overrides}"
        )

    def _command(self, uri: str) -> str:
        """The command that goes on with the run, as it can be typed. Only a local run's recipe can be named."""
        place = shlex.quote(uri)
        # `selfreward iterate` makes one iteration, of perhaps several in the run's recipe.
        fewer = self._recipe.iterations != self._layout.recipe().iterations
        iterations = f" iterations={self._recipe.iterations}" if fewer or "://" in uri else ""
        recipe = "RECIPE" if "://" in uri else shlex.quote(f"{uri}/recipe.yaml")
        return f"selfreward run {recipe} --run-dir {place}{iterations}"

    def _reject(self, alarm: Fired, step: PlannedStep) -> None:
        rejection = rejection_of(alarm, step)
        write_rejection(self._layout.root, rejection)
        parent = self._layout.current().parent(rejection.since)
        last = rejection.since > self._recipe.iterations + 1
        then = f"use M{parent}" if last else f"the run goes on from M{parent}"
        warn(f"M{alarm.model} is rejected by the alarm {alarm.alarm}; {then}")
        raise RolledBack

    def _say_if_unmeasured(self, step: PlannedStep) -> None:
        manifest = read_manifest(step.folder) if step.name == "evaluate" and step.model == "M1" else None
        if manifest is not None and (manifest.metrics.get("agreement") or {}).get("spearman") is None:
            say_unmeasured(self._recipe, "no held-out set has replies of different ranks")


def _stopping(alarms: list[Fired]) -> list[Fired]:
    """Those of `alarms` that end the run. Nothing is before M1 to go back to."""
    return [a for a in alarms if a.reaction == "stop" or (a.reaction == "rollback" and a.model == 1)]


def say_unmeasured(recipe: Recipe, reason: str) -> None:
    """Warn that the gate before sampling has nothing to measure, unless it is off or would stop nothing."""
    if recipe.iterations and recipe.alarms.judge_at_chance.reaction in ("stop", "rollback"):
        warn(
            f"nothing shows whether the judge is better than chance ({reason}), so the alarm judge_at_chance cannot "
            "stop the run before its sampling"
        )
