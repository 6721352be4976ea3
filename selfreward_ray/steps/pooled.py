"""What the steps that run on the pool of replicas share: resume, progress, counts."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Block, Job
from selfreward_ray.inference.pool import open_pool
from selfreward_ray.judging.rubric import Rubric, load_pairwise, load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import count_reasons, count_rows, finished_ids


def judging(recipe: Recipe, *, pairwise: bool = False) -> tuple[Rubric, dict[str, Any]]:
    """The rubric, and what of the recipe decides a verdict: the part of a step's fingerprint that judging adds.

    The rubric judges one reply, or where `pairwise` is set compares two. Raises `RubricError` before an engine is
    started for a rubric that can not be used so.
    """
    judge = recipe.judge
    rubric = load_pairwise(judge.pairwise_rubric) if pairwise else load_rubric(judge.rubric)
    if judge.constrained:
        rubric.constrained_pattern(0)
    read = judge.model_dump(exclude={"rubric" if pairwise else "pairwise_rubric"})
    return rubric, {"judge": read, "rubric": rubric.model_dump(), "seed": recipe.seed}


def run_pooled(
    step: Step,
    job: Job,
    recipe: Recipe,
    *,
    model: str,
    rows: Folder,
    unit: str,
    label: str,
    refused: int = 0,
    measure: Callable[[], dict[str, Any]] = dict,
) -> Manifest:
    """Run `job` over those of the table `rows` that no earlier attempt finished, and finish `step`.

    `refused` is how many rows the step itself dropped before: they stand in `dropped`, not in `rows`. `measure` makes
    the manifest's metrics once all rows are written.
    """
    if step.is_done():
        skipped(label)
        return step.manifest()
    offered = count_rows(rows) + refused
    finished = finished_ids(step.folder)
    counted = Block()
    faults: dict[str, int] = {}
    with Progress(label, offered, unit) as progress:
        progress.update(len(finished))
        if len(finished) < offered:
            progress.note("starting the engine")
            pool_open = open_pool(model, recipe.inference, job, progress.note)
            with pool_open as pool, closing(pool.run(rows, finished)) as blocks:
                for block in blocks:
                    counted += block
                    progress.note("")
                    progress.update(len(finished) + counted.rows, counted.generated_tokens)
                faults = pool.summary()
        _check_some_kept(step, offered, label)
        metrics = {**figures(counted), **faults, **measure()}
        return step.finish(offered=offered, tokens=counted.generated_tokens, metrics=metrics)


def figures(counted: Block) -> dict[str, Any]:
    """What a manifest says of the blocks that were run: all of them, or those since an interruption."""
    counts = {name: count for name, count in dataclasses.asdict(counted).items() if name not in ("rows", "dropped")}
    hit_rate = round(counted.cached_tokens / counted.prompt_tokens, 4) if counted.prompt_tokens else None
    return {**counts, "prefix_hit_rate": hit_rate}


def _check_some_kept(step: Step, offered: int, label: str) -> None:
    """A step in which every row failed is a setting gone wrong: it is not finished, so that it can be done again."""
    if offered and not count_rows(step.folder / "rows"):
        reasons = count_reasons(step.folder / "dropped")
        (step.folder / "dropped").delete()
        raise UserError(f"{label}: every row failed, most often with: {reasons.most_common(1)[0][0]}")
