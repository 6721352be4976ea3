"""The alarms of a finished step. They follow from what steps have written, so that nobody stores them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from selfreward_ray.alarms.measures import ALARMS, COMPARISONS, AlarmKind, Finished
from selfreward_ray.evaluation.agreement import first_verdicts, pair_counts
from selfreward_ray.evaluation.differences import RankedPairs, accuracy_difference
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.alarms import Alarms, Reaction
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.rejection import Rejection
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_files


@dataclass(frozen=True)
class Fired:
    """An alarm that fired after a step."""

    alarm: str
    """Its field in the recipe's section `alarms`."""
    step: str
    """Label of the step, as in ``M2 · pairs``."""
    model: int
    """t of the model M(t) that is to blame: the one that was trained or tested, or that made the candidates."""
    value: float
    threshold: float
    reaction: Reaction
    text: str
    """What was measured, and the remedy."""
    taken: str = ""
    """What the run did, in words; empty where that was not asked (`Reactions.taken`)."""

    @property
    def line(self) -> str:
        return f"alarm {self.alarm} after {self.step}: {self.text}"


def fired_after(step: PlannedStep, recipe: Recipe, layout: RunLayout) -> tuple[Fired, ...]:
    """The alarms of `step` that fired, those that are ``off`` left out; none if the step is not finished."""
    kinds = [kind for kind in ALARMS if step.name in kind.after]
    manifest = read_manifest(step.folder) if kinds else None
    if manifest is None:
        return ()
    found = _finished(step, manifest.metrics, recipe, layout)
    return fired(kinds, found, recipe.alarms, step.label, blamed(step, layout))


def fired(kinds: Iterable[AlarmKind], step: Finished, alarms: Alarms, label: str, model: int) -> tuple[Fired, ...]:
    """The alarms of `kinds` whose value is beyond the threshold. `label` and `model` are only passed on."""
    found = []
    for kind in kinds:
        settings = getattr(alarms, kind.name)
        if settings.reaction == "off":
            continue
        value, threshold = kind.measure(step), float(settings.threshold)
        if value is not None and kind.fired(value, threshold):
            text = kind.message(value, threshold, settings.reaction)
            found.append(Fired(kind.name, label, model, value, threshold, settings.reaction, text))
    return tuple(found)


def blamed(step: PlannedStep, layout: RunLayout) -> int:
    """t of the model to which an alarm of `step` points. The candidates of pairs are those of the model before."""
    t = int(step.model[1:])
    return layout.parent(t) if step.name == "pair" else t


def rejection_of(alarm: Fired, step: PlannedStep) -> Rejection:
    """The record that the model to blame is rejected, from the next model on that has no training yet."""
    since = int(step.model[1:]) if step.name == "pair" else alarm.model + 1
    return Rejection(alarm.model, since, alarm.alarm, alarm.step, alarm.value, alarm.threshold, alarm.text)


def alarms_of(steps: Iterable[PlannedStep], recipe: Recipe, layout: RunLayout) -> tuple[Fired, ...]:
    """All alarms of a run, in the order of its `steps`, and those for which models were rejected.

    A rejected model's successor is made again from other candidates. The alarm of the first ones is in the record.
    """
    found = [alarm for step in steps for alarm in fired_after(step, recipe, layout)]
    known = {(alarm.alarm, alarm.step, alarm.model) for alarm in found}
    recorded = [
        Fired(r.alarm, r.step, r.model, r.value, r.threshold, "rollback", r.text)
        for r in layout.rejections
        if (r.alarm, r.step, r.model) not in known
    ]
    return (*found, *recorded)


def _finished(step: PlannedStep, metrics: Mapping[str, Any], recipe: Recipe, layout: RunLayout) -> Finished:
    t = int(step.model[1:])
    if step.name == "evaluate":
        before = read_manifest(layout.evaluation(layout.parent(t))) if t > 1 else None
        return Finished(
            metrics,
            before=before.metrics if before else {},
            accuracy_change=lambda: _accuracy_change(layout, t) if before else None,
            judges_on=t <= recipe.iterations,
        )
    if step.name in COMPARISONS:
        return Finished(metrics, with_parent=step.folder == layout.against(t, layout.parent(t)))
    return Finished(metrics)


def _accuracy_change(layout: RunLayout, t: int) -> Estimate | None:
    before, after = (_ranked_pairs(layout.evaluation(model)) for model in (layout.parent(t), t))
    return accuracy_difference(before, after)


def _ranked_pairs(evaluation: Folder) -> RankedPairs:
    """Of the first verdict on each reply. The tables of held-out sets are small."""
    rows = (row for _, rows in read_files(evaluation / "rows", EvaluatedSet) for row in rows)
    return pair_counts(first_verdicts(reply for row in rows for reply in row.judged))
