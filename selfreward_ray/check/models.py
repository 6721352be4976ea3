"""The models that steps need and do not make themselves, looked at without their weights."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from selfreward_ray.check.findings import Check, Sentence, faults
from selfreward_ray.check.places import late_model
from selfreward_ray.errors import UserError
from selfreward_ray.models.validate import validate
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep
from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.asked_model import JUDGING_STEPS, asks_model, check_endpoint, sections_asked
from selfreward_ray.store.folder import same_place


def model_checks(recipe: Recipe, steps: Sequence[PlannedStep]) -> list[Check]:
    """A check of each model that `steps` need. One that a step of them makes is made from the recipe's own, whose chat
    template it has."""
    made = models_made(steps)
    uses: dict[str, set[str]] = defaultdict(set)
    for step in steps:
        for name, model in _needed(recipe, step):
            uses[recipe.model if same_place(model) in made else model].add(name)
    return [
        Check("model", partial(_check_model, recipe, model, names), late_model(model)) for model, names in uses.items()
    ]


def models_made(steps: Sequence[PlannedStep]) -> set[str]:
    """The places of the models that `steps` train."""
    return {same_place(f"{step.out}/model") for step in steps if step.name in TRAINING_STEPS}


def _needed(recipe: Recipe, step: PlannedStep) -> Iterator[tuple[str, str]]:
    """The models that a step uses, each with the name of the step that uses one so."""
    if "model" in step.inputs:
        yield step.name, step.inputs["model"]
    if step.inputs.get("judge") is not None:
        yield "judge", step.inputs["judge"]
    if step.name == "propose" and recipe.prompts.source == "model":
        yield step.name, recipe.prompts.proposer or recipe.model


def _check_model(recipe: Recipe, model: str, steps: set[str]) -> Iterator[Sentence]:
    if is_endpoint(model):
        for step in sorted(steps):
            yield from faults(partial(check_endpoint, model, recipe, only_judges=step in JUDGING_STEPS))
        yield f"{address_of(model)}, an endpoint, which is not asked"
        return
    sections = {section for step in steps if asks_model(step) for section in sections_asked(step)}
    problems = validate(model, recipe, trained=bool(steps & TRAINING_STEPS), asked=sections)
    yield from map(UserError, problems) if problems else [model]
