"""Step: k verdicts on each of the given replies, from any source."""

from functools import partial

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import judge_replies
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedPrompt
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.given import reading_part
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.steps.replies import offered_replies
from selfreward_ray.store.step import Step


def judge(recipe: Recipe, *, model: str, replies: str, out: str, label: str = "judge") -> PooledStep:
    """`replies` → `JudgedPrompt` rows (paper, section 2.2, step 3). `pair` accepts them like those of a respond step.

    `replies` is a sample step, a respond or judge step (its replies are judged again), an evaluate step (its answers),
    or a file, folder or URI of prompts with replies, as `prompts.answered` reads them.
    """
    rubric, part = judging(recipe)
    part |= reading_part(recipe, replies) | asked_part(recipe, model)
    step = Step("judge", out, part, {"model": model, "replies": replies})
    program = partial(judge_replies, judge=recipe.judge, rubric=rubric)
    row_tokens = recipe.judge.verdicts * recipe.judge.sampling.max_tokens
    job = Job("judge", program, JudgedPrompt, JudgedPrompt, step.folder.uri, row_tokens)
    offered = offered_replies(step, replies, "--replies", recipe)
    return PooledStep(
        step, job, recipe, model, offered.rows, unit="prompts", label=label, refused=offered.refused,
        measure=lambda: offered.figures,
    )  # fmt: skip
