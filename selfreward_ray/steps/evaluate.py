"""Step: evaluation of a model on held-out sets."""

from functools import partial
from typing import Any

from selfreward_ray.evaluation.agreement import agreement_metrics
from selfreward_ray.evaluation.candidates import score_histogram
from selfreward_ray.evaluation.replies import reply_figures
from selfreward_ray.extensions import Scorer, scorer_named
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import evaluate_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import EvaluatedReply, EvaluatedSet, RankedSet, ScoredReply
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import read_rows


def evaluate(recipe: Recipe, *, model: str, seed_data: str, out: str, label: str = "evaluate") -> PooledStep:
    """Answers to the held-out prompts of `seed_data` (a seed step), and agreement with the human rankings."""
    rubric, part = judging(recipe)
    scorer = None if recipe.evaluation.scorer is None else scorer_named(recipe.evaluation.scorer)
    evaluation = used(recipe.evaluation, include={"scorer", "verdicts"})
    part |= {"respond": used(recipe.respond), "evaluation": evaluation, **asked_part(recipe, model)}
    step = Step("evaluate", out, part, {"model": model, "seed": seed_data})
    samples = agreement_verdicts(recipe)
    program = partial(evaluate_set, respond=recipe.respond, samples=samples, judge=recipe.judge, rubric=rubric)
    # A set has at least two replies.
    row_tokens = recipe.respond.sampling.max_tokens + 2 * samples * recipe.judge.sampling.max_tokens
    job = Job("evaluate", program, RankedSet, EvaluatedSet, step.folder.uri, row_tokens)
    rows = finished_step(seed_data, "seed") / "held_out"

    def measure() -> dict[str, Any]:
        sets = read_rows(step.folder, EvaluatedSet)
        judged = [reply for s in sets for reply in s.judged]
        answers = [s.answer for s in sets]
        scores = [] if scorer is None else scored(answers, scorer)
        if scores:
            step.write(scores, ScoredReply, "scores")
        percents = {reply.id: 100 * reply.score / reply.maximum for reply in scores}
        return {
            **agreement_metrics(judged, rubric.max_score, recipe.judge.min_valid),
            "replies": vars(reply_figures(answers, percents)),
            "scores": score_histogram(judged),  # of all rows, also if the step was interrupted
        }

    return PooledStep(
        step, job, recipe, model, rows, unit="prompts", label=label, measure=measure,
    )  # fmt: skip


def agreement_verdicts(recipe: Recipe) -> int:
    """Number of verdicts on each human-ranked reply."""
    return recipe.evaluation.verdicts or recipe.judge.verdicts


def scored(answers: list[EvaluatedReply], scorer: Scorer) -> list[ScoredReply]:
    """Scores of `answers`, without those for which `scorer` returns None."""
    found = [(answer.id, scorer(answer.prompt, answer.text)) for answer in answers]
    return [ScoredReply(name, score.value, score.maximum) for name, score in found if score is not None]
