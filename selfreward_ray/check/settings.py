"""What a recipe names that programs and files must provide, and settings that exclude each other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from selfreward_ray.check.findings import Sentence, faults
from selfreward_ray.check.models import models_made
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import check_scorer, find_source, is_source, tracker_named
from selfreward_ray.inference.engine_arguments import unknown_arguments
from selfreward_ray.models.json_files import configuration
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.trained_parts import refused_settings
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep
from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe.schema import Prompts, Recipe
from selfreward_ray.steps.asked_model import asks_model, judging
from selfreward_ray.steps.dpo_inputs import check_dpo_inputs
from selfreward_ray.store.folder import same_place

_READING_VERDICTS = frozenset(("verdicts", "eft", "respond", "evaluate", "judge", "agreement"))
"""Steps that use ``judge.rubric``."""


def check_settings(recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Sentence]:
    """Each name of the recipe that `steps` use and nobody has, and each contradiction."""
    yield from faults(*_used(recipe, steps))
    if recipe.inference.engine and any(asks_model(step.name) for step in steps):
        with suppress(ModuleNotFoundError):  # the nodes alone have vLLM
            yield from map(UserError, unknown_arguments(recipe.inference.engine))


def check_trackers(recipe: Recipe) -> Iterator[Sentence]:
    """Each tracker that no installed package has. Only a run has trackers."""
    yield from faults(*(partial(tracker_named, name) for name in recipe.tracking.trackers))


def check_trained(recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Sentence]:
    """Each setting of ``training`` that a model does not have which `steps` train and do not make."""
    training = recipe.training
    if not training.router_loss and not (training.lora.rank and training.lora.targets):
        return
    trainings = [step for step in steps if step.name in TRAINING_STEPS]
    made = models_made(steps)
    for model in dict.fromkeys(step.inputs["model"] for step in trainings):
        if same_place(model) not in made:
            try:
                config = configuration(without_weights(model).folder, model)
            except (UserError, OSError):  # the check of the model says why
                continue
            yield from refused_settings(config, training)


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
    if "respond" in names:
        yield partial(_check_candidates, recipe, paired="pair" in names)
    if "propose" in names and recipe.prompts.source == "model":
        yield partial(_check_budget, recipe.prompts)
    for step in steps:
        if step.name == "dpo":
            eft, validation, judge = (step.inputs.get(name) for name in ("eft", "validation", "judge"))
            yield partial(check_dpo_inputs, recipe, eft, validation, judge)


def _check_candidates(recipe: Recipe, paired: bool) -> None:
    """Raise `UserError` if the candidates of a prompt cannot differ, or make no pair where they are `paired`."""
    count, policy = recipe.respond.candidates, recipe.pairs.policy
    if count > 1 and not recipe.respond.sampling.temperature:
        raise UserError(
            f"respond.sampling.temperature is 0, so that the {count} candidates for a prompt (respond.candidates) "
            "would be the same reply; raise the temperature, as to the paper's 0.7"
        )
    if count == 1 and paired and POLICIES[policy].trained_by == "dpo":
        raise UserError(
            f"respond.candidates is 1, and pairs.policy={policy} makes a pair of two replies to a prompt; raise "
            "respond.candidates, as to the paper's 4"
        )


def _check_budget(prompts: Prompts) -> None:
    """Raise `UserError` if a model may make fewer proposals than prompts are wanted of them."""
    if prompts.budget < prompts.count:
        raise UserError(
            f"prompts.max_requests allows {prompts.budget} proposals (in rounds of {prompts.requests_per_round}), of "
            f"which prompts.count={prompts.count} prompts cannot come; raise prompts.max_requests above that number "
            "by far, or set it to null"
        )


def _check_policy(recipe: Recipe) -> None:
    if recipe.training.select == "judged" and POLICIES[recipe.pairs.policy].trained_by == "sft":
        raise UserError(
            f"training.select=judged chooses among checkpoints of DPO, but pairs.policy={recipe.pairs.policy} trains "
            "by SFT; set training.select=last"
        )
