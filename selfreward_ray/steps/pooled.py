"""What the steps that run on the pool of replicas share: resume, progress, counts."""

from collections.abc import Callable
from typing import Any

from selfreward_ray.inference.pool import Job, run_pool
from selfreward_ray.recipe import Recipe
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step, count_rows
from selfreward_ray.storage import Folder


def run_pooled(
    step: Step,
    job: Job,
    recipe: Recipe,
    *,
    model: str,
    source: str,
    table: str,
    unit: str,
    label: str,
    measure: Callable[[], dict[str, Any]] = dict,
) -> Manifest:
    """Run `job` over the rows of ``source/table`` that no earlier attempt finished, and finish `step`.

    `measure` makes the manifest's metrics once all rows are written.
    """
    if step.is_done():
        skipped(label)
        return step.manifest()
    rows = Folder(source) / table
    offered = count_rows(rows)
    finished = step.finished_ids()
    generated = prompt = 0
    with Progress(label, offered, unit) as progress:
        done = len(finished)
        progress.note("starting the engine")
        progress.update(done)
        for block in run_pool(rows, finished, model, recipe.inference, job):
            done += block.rows
            generated += block.generated_tokens
            prompt += block.prompt_tokens
            progress.note("")
            progress.update(done, generated)
        metrics = {"prompt_tokens": prompt, "generated_tokens": generated, **measure()}
        return step.finish(offered=offered, tokens=generated, metrics=metrics)
