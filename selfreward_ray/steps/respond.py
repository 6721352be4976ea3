"""Step: N candidates for each prompt, each judged k times by the same model."""

from functools import partial

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import respond_and_judge
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import JudgedPrompt, Prompt
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.given import offered_prompts, reading_part
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.step import Step


def respond(recipe: Recipe, *, model: str, prompts: str, out: str, label: str = "respond and judge") -> PooledStep:
    """`prompts` → `JudgedPrompt` rows (paper, section 2.2).

    `prompts` is a propose step, or a file, folder or URI of prompts in any format that `prompts.source` may have.
    """
    rubric, part = judging(recipe)
    part |= {"respond": used(recipe.respond), **reading_part(recipe, prompts), **asked_part(recipe, model)}
    step = Step("respond", out, part, {"model": model, "prompts": prompts})
    program = partial(respond_and_judge, respond=recipe.respond, judge=recipe.judge, rubric=rubric)
    row_tokens = recipe.respond.candidates * recipe.respond.sampling.max_tokens
    job = Job("respond", program, Prompt, JudgedPrompt, step.folder.uri, row_tokens)
    offered = offered_prompts(step, prompts, "--prompts", recipe)
    return PooledStep(
        step, job, recipe, model, offered.rows, unit="prompts", label=label, refused=offered.refused,
        measure=lambda: offered.figures,
    )  # fmt: skip
