"""Step: a model's answers to the questions of a benchmark, which may have several turns."""

from functools import partial

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import answer_question
from selfreward_ray.prompts.given import prompt_reading, read_questions
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import AnsweredQuestion, Question
from selfreward_ray.steps.asked_model import asked_part
from selfreward_ray.steps.given import reading_part, write_offered
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step, is_step
from selfreward_ray.store.user_files import read_some_rows


def answer(recipe: Recipe, *, model: str, questions: str, out: str, label: str = "answer") -> PooledStep:
    """`questions`, a file, folder or URI → `AnsweredQuestion` rows, one answer to each turn.

    Of the recipe, `respond.sampling` and `respond.thinking` are used. A question one of whose turns does not fit into
    the model's context is dropped as a whole. Raises `UserError` for a step's folder, and for a row that is not a
    question.
    """
    if is_step(Folder(questions)):
        raise UserError(
            f"--questions: {questions} is a step's folder; give a file of questions, or answer the prompts of a "
            "propose step with selfreward sample"
        )
    respond = recipe.respond
    sampling = respond.sampling
    part = {
        "sampling": used(sampling),
        "thinking": respond.thinking,
        "seed": recipe.seed,
        **reading_part(recipe, questions),
        **asked_part(recipe, model),
    }
    step = Step("answer", out, part, {"model": model, "questions": questions})
    program = partial(answer_question, sampling=sampling, thinking=respond.thinking)
    job = Job("answer", program, Question, AnsweredQuestion, step.folder.uri, sampling.max_tokens)
    # A benchmark without one of its questions is another one.
    reading = prompt_reading(recipe.prompts.model_copy(update={"bad_rows": "stop"}), "--questions")
    asked = read_questions(read_some_rows(questions, None, "--questions"), reading)
    offered = write_offered(step, asked, Question, reading)
    return PooledStep(step, job, recipe, model, offered.rows, unit="questions", label=label)
