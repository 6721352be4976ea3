"""What the steps that run on the pool of replicas share: resume, progress, counts."""

from collections.abc import Callable
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.inference.pool import Job, run_pool
from selfreward_ray.judging.rubric import Rubric, load_rubric
from selfreward_ray.recipe import Recipe
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step, count_reasons, count_rows
from selfreward_ray.storage import Folder


def judging(recipe: Recipe) -> tuple[Rubric, dict[str, Any]]:
    """The rubric, and what of the recipe decides a verdict: the part of a step's fingerprint that judging adds.

    Raises `RubricError` before an engine is started for a rubric that can not be used so.
    """
    rubric = load_rubric(recipe.judge.rubric)
    if recipe.judge.constrained:
        rubric.constrained_pattern(0)
    return rubric, {"judge": recipe.judge.model_dump(), "rubric": rubric.model_dump(), "seed": recipe.seed}


def run_pooled(
    step: Step,
    job: Job,
    recipe: Recipe,
    *,
    model: str,
    rows: Folder,
    unit: str,
    label: str,
    measure: Callable[[], dict[str, Any]] = dict,
) -> Manifest:
    """Run `job` over those of the table `rows` that no earlier attempt finished, and finish `step`.

    `measure` makes the manifest's metrics once all rows are written.
    """
    if step.is_done():
        skipped(label)
        return step.manifest()
    offered = count_rows(rows)
    finished = step.finished_ids()
    generated = prompt = 0
    with Progress(label, offered, unit) as progress:
        done = len(finished)
        progress.note("starting the engine")
        progress.update(done)
        blocks = run_pool(rows, finished, model, recipe.inference, job) if done < offered else ()
        for block in blocks:
            done += block.rows
            generated += block.generated_tokens
            prompt += block.prompt_tokens
            progress.note("")
            progress.update(done, generated)
        _check_some_kept(step, offered, label)
        metrics = {"prompt_tokens": prompt, "generated_tokens": generated, **measure()}
        return step.finish(offered=offered, tokens=generated, metrics=metrics)


def _check_some_kept(step: Step, offered: int, label: str) -> None:
    """A step in which every row failed is a setting gone wrong: it is not finished, so that it can be done again."""
    if offered and not count_rows(step.folder / "rows"):
        reasons = count_reasons(step.folder / "dropped")
        (step.folder / "dropped").delete()
        raise UserError(f"{label}: every row failed, most often with: {reasons.most_common(1)[0][0]}")
