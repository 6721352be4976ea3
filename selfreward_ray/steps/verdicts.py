"""Step: a model's verdicts on ranked replies, several samples per reply. EFT rows are chosen from them."""

from functools import partial

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import judge_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedSet, RankedSet
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.step import Step, finished_step


def verdicts(recipe: Recipe, *, model: str, seed_data: str, out: str, label: str = "verdicts") -> PooledStep:
    """`JudgedSet` rows of the `eft` table of `seed_data` (a seed step), judged by `model` (paper, section 3.1.1)."""
    rubric, part = judging(recipe)
    samples = recipe.seed_data.verdict_samples
    step = Step(
        "verdicts", out, part | {"samples": samples} | asked_part(recipe, model), {"model": model, "seed": seed_data}
    )
    program = partial(judge_set, samples=samples, judge=recipe.judge, rubric=rubric)
    row_tokens = 2 * samples * recipe.judge.sampling.max_tokens  # a set has at least two replies
    job = Job("verdicts", program, RankedSet, JudgedSet, step.folder.uri, row_tokens)
    rows = finished_step(seed_data, "seed") / "eft"
    return PooledStep(step, job, recipe, model, rows, unit="sets", label=label)
