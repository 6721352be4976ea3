"""Step: the agreement of a model's verdicts with the human rankings of any data."""

from functools import partial
from typing import Any

from selfreward_ray.evaluation.agreement import agreement_metrics
from selfreward_ray.extensions import given_sets, is_source
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import judge_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import Dropped, JudgedSet, RankedSet
from selfreward_ray.reporting.progress import warn
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.evaluate import agreement_verdicts
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_files

NO_ORDER = "its replies have no different ranks"


def agreement(recipe: Recipe, *, model: str, data: str, out: str, label: str = "agreement") -> PooledStep:
    """Ranked sets of `data` → `JudgedSet` rows by the judge `model`, and its agreement with them (section 3.1.3).

    `data` is what ``seed_data.source`` may be; of an installed source the held-out sets are taken. Sets without
    different ranks are dropped. The manifest's metrics are those of `agreement_metrics`.
    """
    rubric, part = judging(recipe)
    samples = agreement_verdicts(recipe)
    recipe = recipe.model_copy(update={"seed_data": recipe.seed_data.model_copy(update={"source": data})})
    installed = is_source(data)
    part |= {"seed_data": used(recipe.seed_data), "samples": samples, **asked_part(recipe, model)}
    step = Step("agreement", out, part, {"model": model} | ({} if installed else {"data": data}))
    program = partial(judge_set, samples=samples, judge=recipe.judge, rubric=rubric)
    row_tokens = 2 * samples * recipe.judge.sampling.max_tokens  # a set has at least two replies
    job = Job("agreement", program, RankedSet, JudgedSet, step.folder.uri, row_tokens)
    dropped: list[Dropped] = []
    if not step.is_done():
        ranked, dropped = _ranked(recipe, installed)
        step.write(ranked, RankedSet, "offered")
        step.write(dropped, Dropped, "dropped")

    def measure() -> dict[str, Any]:
        sets = (row for _, rows in read_files(step.folder / "rows", JudgedSet) for row in rows)
        judged = [reply for row in sets for reply in row.replies()]
        return agreement_metrics(judged, rubric.max_score, recipe.judge.min_valid)

    return PooledStep(
        step, job, recipe, model, step.folder / "offered", unit="sets", label=label, refused=len(dropped),
        measure=measure,
    )  # fmt: skip


def _ranked(recipe: Recipe, installed: bool) -> tuple[list[RankedSet], list[Dropped]]:
    """The sets that can be measured, and what is left out."""
    reading = Reading(recipe.seed_data)
    given = given_sets(recipe).held_out if installed else list(read_seed(recipe.seed_data, reading))
    for note in reading.notes():
        warn(note)
    sets = [item for item in given if isinstance(item, RankedSet)]
    ranked = [s for s in sets if len({reply.rank for reply in s.replies}) > 1]
    kept = {s.id for s in ranked}
    dropped = [item for item in given if isinstance(item, Dropped)]
    return ranked, dropped + [Dropped(s.id, "agreement", NO_ORDER) for s in sets if s.id not in kept]
