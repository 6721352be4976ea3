"""Step: N candidates for each prompt, each judged k times by the same model."""

from functools import partial

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import respond_and_judge
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedPrompt, Prompt
from selfreward_ray.steps.given import offered_prompts
from selfreward_ray.steps.pooled import PooledStep, judging, switches
from selfreward_ray.store.step import Step


def respond(recipe: Recipe, *, model: str, prompts: str, out: str, label: str = "respond and judge") -> PooledStep:
    """`prompts` → `JudgedPrompt` rows (paper, section 2.2).

    `prompts` is a propose step, or a file, folder or URI of rows ``{"prompt"}`` or ``{"instruction"}``.
    """
    rubric, part = judging(recipe)
    step = Step("respond", out, part | {"respond": recipe.respond.model_dump()}, {"model": model, "prompts": prompts})
    program = partial(respond_and_judge, respond=recipe.respond, judge=recipe.judge, rubric=rubric)
    row_tokens = recipe.respond.candidates * recipe.respond.sampling.max_tokens
    job = Job("respond", program, Prompt, JudgedPrompt, step.folder.uri, row_tokens)
    rows = offered_prompts(step, prompts, "--prompts")
    thinking = switches(recipe, "respond", "judge")
    return PooledStep(step, job, recipe, model, rows, unit="prompts", label=label, thinking=thinking)
