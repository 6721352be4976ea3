"""What a recipe names that programs and files must provide, and settings that exclude each other."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from selfreward_ray.check.findings import Sentence, faults
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import check_scorer, find_source, is_source, tracker_named
from selfreward_ray.plan import PlannedStep
from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.asked_model import judging
from selfreward_ray.steps.dpo_inputs import check_dpo_inputs

_READING_VERDICTS = frozenset(("verdicts", "eft", "respond", "evaluate", "judge", "agreement"))
"""Steps that use ``judge.rubric``."""


def check_settings(recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Sentence]:
    """Each name of the recipe that `steps` use and nobody has, and each contradiction."""
    yield from faults(*_used(recipe, steps))


def check_trackers(recipe: Recipe) -> Iterator[Sentence]:
    """Each tracker that no installed package has. Only a run has trackers."""
    yield from faults(*(partial(tracker_named, name) for name in recipe.tracking.trackers))


def _used(recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Callable[[], object]]:
    names = {step.name for step in steps}
    sources = {
        "seed": ("seed_data.source", recipe.seed_data.source),
        "propose": ("prompts.source", recipe.prompts.source),
    }
    for name, (field, source) in sources.items():
        if name in names and source is not None and is_source(source):
            yield partial(find_source, source, field)
    if recipe.evaluation.scorer is not None and "evaluate" in names:
        yield partial(check_scorer, recipe.evaluation.scorer)
    if names & _READING_VERDICTS:
        yield partial(judging, recipe)
    if "compare" in names:
        yield partial(judging, recipe, pairwise=True)
    if "dpo" in names or "pair" in names:
        yield partial(_check_policy, recipe)
    for step in steps:
        if step.name == "dpo":
            eft, validation, judge = (step.inputs.get(name) for name in ("eft", "validation", "judge"))
            yield partial(check_dpo_inputs, recipe, eft, validation, judge)


def _check_policy(recipe: Recipe) -> None:
    if recipe.training.select == "judged" and POLICIES[recipe.pairs.policy].trained_by == "sft":
        raise UserError(
            f"training.select=judged chooses among checkpoints of DPO, but pairs.policy={recipe.pairs.policy} trains "
            "by SFT; set training.select=last"
        )
