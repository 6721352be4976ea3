"""Step: the summary tables of a run and its ``report.html``."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rich.console import Console

from selfreward_ray import __version__
from selfreward_ray.alarms.check import alarms_of
from selfreward_ray.alarms.reactions import Reactions
from selfreward_ray.errors import UserError
from selfreward_ray.plan import PlannedStep, plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.findings import findings
from selfreward_ray.reporting.instruments import instruments_of
from selfreward_ray.reporting.judged import JudgedFigures, ShownPrompt
from selfreward_ray.reporting.page import render_page
from selfreward_ray.reporting.pairs_data import PairArchive, PairData
from selfreward_ray.reporting.progress import warn
from selfreward_ray.reporting.reading import (
    read_comparisons,
    read_evaluated,
    read_iteration,
    read_model,
    read_shared,
    read_training,
    rubric_scale,
)
from selfreward_ray.reporting.recipe_diff import differences
from selfreward_ray.reporting.summary import IterationSummary, RunSummary, Sample, StepSummary, Training
from selfreward_ray.reporting.terminal import print_summary
from selfreward_ray.store.manifest import Manifest, read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import missing_rows

_SAMPLES = 4
"""Pairs of each model that stand in the page without its script."""


def report(run: str, console: Console | None = None) -> RunSummary:
    """Print the summary tables of `run` and write its ``report.html``. Raises `UserError` if it is not a run."""
    summary = _write(RunLayout(run))
    print_summary(summary, console or Console())
    return summary


def _write(layout: RunLayout) -> RunSummary:
    summary, data = read_report(layout)
    layout.root.write_bytes("report.html", render_page(summary, data).encode())
    return summary


def update_report(layout: RunLayout) -> None:
    """Write the page of a run in progress, without printing. A failure is printed on one line and ends nothing."""
    try:
        _write(layout)
    except Exception as error:  # the run goes on without its page
        named = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        fault = f"{named}{error}".split("\n")[0]
        warn(f"the report could not be written and the run continues ({fault})")


def read_report(layout: RunLayout) -> tuple[RunSummary, PairData]:
    """The contents of a report, of the steps that are finished. Raises `UserError` if there is none."""
    layout, recipe = layout.current(), layout.recipe()
    planned = plan(recipe, layout)
    steps = [(step, read_manifest(step.folder)) for step in planned]
    finished = [(step, manifest) for step, manifest in steps if manifest is not None]
    for step, manifest in finished:
        if faults := missing_rows(step.folder, manifest):
            raise UserError(f"{step.label}: {faults[0]}")
    if not finished:
        raise UserError(f"{layout.uri}: no step has been finished yet; `selfreward status` shows what is next")
    made = range(1, recipe.iterations + 2)
    evaluated = [found for t in made if (found := read_evaluated(layout, t)) is not None]
    held_out = bool(recipe.seed_data.held_out)
    comparisons = tuple(read_comparisons(layout, recipe.alarms.position_bias.threshold))
    by = instruments_of(recipe, layout)
    judged = _read_judged(layout, recipe)
    summary = RunSummary(
        name=recipe.name,
        recipe_yaml=layout.recipe_text(),
        scorer=recipe.evaluation.scorer,
        models=tuple(model for t in made if (model := read_model(layout, t)) is not None),
        steps=tuple(_step(step, manifest) for step, manifest in finished),
        samples=judged.samples,
        unfinished=tuple(step.label for step, manifest in steps if manifest is None),
        instruments=by,
        findings=findings(evaluated, by, held_out, len(made), comparisons),
        comparisons=comparisons,
        alarms=Reactions(planned, recipe, layout).taken(alarms_of(planned, recipe, layout)),
        rejections=layout.rejections,
        planned_models=len(made),
        iterations=judged.iterations,
        trainings=tuple(_trainings(layout, (step for step, _ in steps))),
        differences=differences(recipe),
        versions=_versions(manifest for _, manifest in finished),
    )
    return summary, judged.data


def _step(step: PlannedStep, manifest: Manifest) -> StepSummary:
    return StepSummary(
        step.short,
        step.model,
        manifest.rows.get("rows", 0),
        manifest.dropped,
        manifest.tokens,
        manifest.seconds,
        manifest.metrics.get("engine_start_seconds"),
    )


def _trainings(layout: RunLayout, steps: Iterable[PlannedStep]) -> Iterator[Training]:
    for step in steps:
        if step.made_in is not None:
            made = layout.baseline() if step.name == "baseline" else layout.model_layout(int(step.model[1:]))
            training = read_training(step.label, f"{step.model}/{step.short}", made, layout.uri)
            if training is not None:
                yield training


def _versions(manifests: Iterable[Manifest]) -> dict[str, str]:
    """Versions by package; more than one where steps ran with different ones."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for manifest in manifests:
        for name, version in manifest.versions.items():
            found[name].add(version)
    this = {"selfreward-ray (this page)": __version__}
    return {**this, **{name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}}


@dataclass(frozen=True)
class _Judged:
    """What one pass over the judged prompts of a run gives."""

    iterations: tuple[IterationSummary, ...]
    samples: tuple[Sample, ...]
    data: PairData


def _read_judged(layout: RunLayout, recipe: Recipe) -> _Judged:
    """One prompt with its texts is in memory at a time; the archive keeps compressed ones."""
    judged = [t for t in range(2, recipe.iterations + 2) if read_manifest(layout.judged(t)) is not None]
    archive, scale = PairArchive(len(judged)), rubric_scale(recipe)
    iterations, samples = [], []
    for t in judged:
        model, judge = f"M{t}", f"M{layout.parent(t)}"
        figures = JudgedFigures(model, judge, scale, recipe.judge.min_valid)
        archive.begin(model)
        shown = _Samples(model, _paired_prompts(layout, t))
        for prompt in read_iteration(layout, recipe, t):
            figures.add(prompt)
            archive.add(prompt)
            shown.add(prompt)
        iterations.append(replace(figures.summary(), shared=read_shared(layout, t)))
        samples += shown.samples
    return _Judged(tuple(iterations), tuple(samples), archive.finish())


def _paired_prompts(layout: RunLayout, t: int) -> int:
    """The judged prompts of M(t) that gave at least one training row."""
    judged, pairs = read_manifest(layout.judged(t)), read_manifest(layout.pairs(t))
    return judged.rows.get("rows", 0) - sum(pairs.dropped.values()) if judged and pairs else 0


class _Samples:
    """A few of a model's pairs, evenly spaced over its judged prompts."""

    def __init__(self, model: str, prompts: int) -> None:
        self._model, self._every, self._seen = model, max(1, prompts // _SAMPLES), 0
        self.samples: list[Sample] = []

    def add(self, prompt: ShownPrompt) -> None:
        best, worst = prompt.best, prompt.worst
        if best is None or worst is None:
            return
        if self._seen % self._every == 0 and len(self.samples) < _SAMPLES:
            sample = Sample(self._model, prompt.text, best.text, best.mean or 0.0, worst.text, worst.mean or 0.0)
            self.samples.append(sample)
        self._seen += 1
