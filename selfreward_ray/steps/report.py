"""Step: the summary tables of a run and its ``report.html``."""

from itertools import chain, islice

from rich.console import Console

from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.preferences import POLICIES
from selfreward_ray.records import Pair
from selfreward_ray.reporting.page import render_page
from selfreward_ray.reporting.summary import ModelSummary, RunSummary, Sample, StepSummary
from selfreward_ray.reporting.terminal import print_summary
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_files

_SAMPLES = 4


def report(run: str, console: Console | None = None) -> RunSummary:
    """Print the summary tables of `run` and write its ``report.html``. Raises `UserError` if it is not a run."""
    summary = summarize(RunLayout(run))
    print_summary(summary, console or Console())
    Folder(run).write_bytes("report.html", render_page(summary).encode())
    return summary


def summarize(layout: RunLayout) -> RunSummary:
    """The data of a report, from the manifests of the finished steps."""
    recipe = layout.recipe()
    steps = [
        StepSummary(step.name, step.model, m.rows.get("rows", 0), m.dropped, m.tokens, m.seconds)
        for step in plan(recipe, layout)
        if (m := read_manifest(step.folder)) is not None
    ]
    models = [model for t in range(1, recipe.iterations + 2) if (model := _model(layout, t)) is not None]
    samples = [s for t in range(2, recipe.iterations + 2) for s in _samples(layout, t)]
    if not steps:
        raise UserError(f"{layout.uri}: no step has been finished yet; `selfreward status` shows what is next")
    return RunSummary(
        recipe.name, layout.recipe_text(), recipe.evaluation.scorer, tuple(models), tuple(steps), tuple(samples)
    )


def _model(layout: RunLayout, t: int) -> ModelSummary | None:
    evaluation = read_manifest(layout.evaluation(t))
    if evaluation is None:
        return None
    pairs = read_manifest(layout.pairs(t)) if t > 1 else None
    replies, agreement = evaluation.metrics["replies"], evaluation.metrics["agreement"]
    score, margin = replies["score"], replies["score_margin"]
    return ModelSummary(
        model=f"M{t}",
        score=score,
        score_low=None if margin is None else score - margin,
        score_high=None if margin is None else score + margin,
        pairwise_accuracy=agreement["pairwise_accuracy"],
        spearman=agreement["spearman"],
        unreadable=agreement["unreadable"],
        mean_words=replies["mean_words"],
        pairs=pairs.rows.get("rows", 0) if pairs else None,
        evaluated_prompts=replies["count"],
    )


def _samples(layout: RunLayout, t: int) -> list[Sample]:
    """A few pairs, evenly spaced over the table; none if the policy does not make pairs."""
    manifest = read_manifest(layout.pairs(t))
    if manifest is None or POLICIES[layout.recipe().pairs.policy].record is not Pair:
        return []
    every = max(1, manifest.rows.get("rows", 0) // _SAMPLES)
    pairs = chain.from_iterable(rows for _, rows in read_files(layout.pairs(t) / "rows", Pair))
    return [
        Sample(f"M{t}", p.prompt, p.chosen.text, p.chosen.mean or 0.0, p.rejected.text, p.rejected.mean or 0.0)
        for p in islice(pairs, 0, every * _SAMPLES, every)
    ]
