"""Step: what a model is worth, on held-out sets. The only step, beside seed, that knows the demo world's truth."""

from functools import partial
from typing import Any

from selfreward_ray.evaluation.agreement import agreement
from selfreward_ray.evaluation.replies import reply_figures
from selfreward_ray.evaluation.truth import scored
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import evaluate_set
from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet, RankedSet
from selfreward_ray.steps.pooled import judging, run_pooled
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import read_rows


def evaluate(recipe: Recipe, *, model: str, seed_data: str, out: str, label: str = "evaluate") -> Manifest:
    """Answers to the held-out prompts of `seed_data` (a seed step), and agreement with their human rankings."""
    rubric, part = judging(recipe)
    step = Step("evaluate", out, part | {"respond": recipe.respond.model_dump()}, {"model": model, "seed": seed_data})
    program = partial(evaluate_set, respond=recipe.respond, judge=recipe.judge, rubric=rubric)
    # A set has two replies or more.
    row_tokens = recipe.respond.sampling.max_tokens + 2 * recipe.judge.sampling.max_tokens
    job = Job("evaluate", program, RankedSet, EvaluatedSet, step.folder.uri, recipe.seed, row_tokens)
    rows = finished_step(seed_data, "seed") / "held_out"
    return run_pooled(
        step, job, recipe, model=model, rows=rows, unit="prompts", label=label, measure=lambda: _figures(step, rubric)
    )


def _figures(step: Step, rubric: Rubric) -> dict[str, Any]:
    sets = read_rows(step.folder, EvaluatedSet)
    judged = [reply for s in sets for reply in s.judged]
    answers = [scored(s.answer) for s in sets]
    return {
        "agreement": vars(agreement(judged, rubric.max_score)),
        "replies": vars(reply_figures(answers)),
    }
