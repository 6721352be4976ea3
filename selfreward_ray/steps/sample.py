"""Step: N candidates for each prompt, without verdicts. A judge step adds those, with any model."""

from functools import partial

from selfreward_ray.inference import programs
from selfreward_ray.inference.block import Job
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import JudgedPrompt, Prompt
from selfreward_ray.steps.asked_model import asked_part
from selfreward_ray.steps.given import offered_prompts, reading_part
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.step import Step


def sample(recipe: Recipe, *, model: str, prompts: str, out: str, label: str = "sample") -> PooledStep:
    """`prompts` → `JudgedPrompt` rows whose candidates have no verdicts (paper, section 2.2).

    `prompts` is a propose step, or a file, folder or URI of prompts in any format that `prompts.source` may have.
    """
    part = {"respond": used(recipe.respond), "seed": recipe.seed, **reading_part(recipe, prompts)}
    step = Step("sample", out, part | asked_part(recipe, model), {"model": model, "prompts": prompts})
    program = partial(programs.sample, respond=recipe.respond)
    row_tokens = recipe.respond.candidates * recipe.respond.sampling.max_tokens
    job = Job("sample", program, Prompt, JudgedPrompt, step.folder.uri, row_tokens)
    offered = offered_prompts(step, prompts, "--prompts", recipe)
    return PooledStep(
        step, job, recipe, model, offered.rows, unit="prompts", label=label, refused=offered.refused,
        measure=lambda: offered.figures,
    )  # fmt: skip
