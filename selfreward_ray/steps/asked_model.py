"""The model that a step asks, and what it is asked with: rubric, endpoint, thinking. Imports no engine."""

from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.judging.rubric import Rubric, load_pairwise, load_rubric
from selfreward_ray.models.light_tokenizer import LightTokenizer
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.template import ChatTemplate
from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used

JUDGING_STEPS = frozenset(("verdicts", "judge", "compare", "agreement"))
"""Steps in which the model only judges; an endpoint can be used instead of a model."""

_SECTIONS = {
    "propose": ("prompts",),
    **dict.fromkeys(("sample", "answer"), ("respond",)),
    **dict.fromkeys(("respond", "evaluate"), ("respond", "judge")),
    **dict.fromkeys(("benchmark", "benchmark-requests"), ()),
    **dict.fromkeys(JUDGING_STEPS, ("judge",)),
}
"""The recipe's sections by which the steps that ask a model sample from it."""


def judging(recipe: Recipe, *, pairwise: bool = False) -> tuple[Rubric, dict[str, Any]]:
    """The rubric, and the part of the recipe that determines verdicts, for the step's fingerprint.

    The rubric judges one reply, or compares two if `pairwise` is set. Raises `RubricError`, before an engine starts,
    for a rubric of the wrong kind.
    """
    judge = recipe.judge
    rubric = load_pairwise(judge.pairwise_rubric) if pairwise else load_rubric(judge.rubric)
    if judge.constrained:
        rubric.constrained_pattern(0)
    settings = used(judge, exclude={"rubric" if pairwise else "pairwise_rubric"})
    return rubric, {"judge": settings, "rubric": used(rubric), "seed": recipe.seed}


def asked_part(recipe: Recipe, model: str) -> dict[str, Any]:
    """The part of the recipe that says how an engine is asked, for a step's fingerprint; none if `model` is an
    endpoint."""
    return {} if is_endpoint(model) else recipe.inference.sampling()


def check_endpoint(model: str, recipe: Recipe, only_judges: bool = True) -> None:
    """Raise `UserError` if `model` is an endpoint that cannot take the place of a model in a step.

    Only a step that `only_judges` can have one: the texts of other models' replies are known, but the token ids of the
    endpoint's own replies, which training needs, are not.
    """
    if not is_endpoint(model):
        return
    address = address_of(model)
    if not only_judges:
        raise UserError(
            f"{address} is an endpoint, which can only judge (verdicts, judge, compare): it gives no token ids to "
            "train on; name a model here, by folder, hub name or storage URI"
        )
    if recipe.judge.constrained:
        raise UserError(f"judge.constrained: the endpoint {address} takes no constraints; set judge.constrained=false")
    if recipe.judge.thinking is not None:
        raise UserError(
            f"judge.thinking: the endpoint {address} has a chat template of its own; set judge.thinking=null, and turn "
            "thinking on or off where it is served"
        )


def asks_model(step: str) -> bool:
    """Whether a step asks a model."""
    return step in _SECTIONS


def sections_asked(step: str) -> tuple[str, ...]:
    """The recipe's sections by which a step samples from its model."""
    return _SECTIONS[step]


def check_thinking(model: str, recipe: Recipe, step: str) -> None:
    """Raise `UserError` if `recipe` turns thinking on or off in a step, and `model` has no switch for it. The files of
    its tokenizer are only opened in this case."""
    fields = [f"{section}.thinking" for section in _SECTIONS[step] if getattr(recipe, section).thinking is not None]
    if not fields or is_endpoint(model):
        return
    found = without_weights(model, adapters=True)
    ChatTemplate(found.uri, LightTokenizer(found.folder, found.uri)).require_switch(fields)


def proposer_of(recipe: Recipe) -> str:
    """The model that proposes: `prompts.proposer`, by default M0. Raises `UserError` if it is an endpoint."""
    proposer = recipe.prompts.proposer or recipe.model
    check_endpoint(proposer, recipe, only_judges=False)
    return proposer
