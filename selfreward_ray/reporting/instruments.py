"""What measured the models of a run: the scorer of their answers and the judge that compared them, in words."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import same_place
from selfreward_ray.store.run import RunLayout


@dataclass(frozen=True)
class Instruments:
    """The scorer and the judge of a run."""

    scorer: str | None = None
    """Name of the program that scores answers; None if there is none."""
    judge: str = "the judge of this run"
    """Who compares answers head to head, with its rubric and number of verdicts."""
    related: bool = False
    """Whether the judge is a model of this run, or the one that they were made from."""


def instruments_of(recipe: Recipe, layout: RunLayout) -> Instruments:
    """Those that the steps of a run used, by its recipe."""
    name = recipe.evaluation.judge
    who, related = _judge(name, recipe, layout)
    said = f"{who}, the judge of this run" if name is None else f"{who}, which evaluation.judge names"
    return Instruments(recipe.evaluation.scorer, f"{said} ({_method(recipe)})", related)


def _judge(name: str | None, recipe: Recipe, layout: RunLayout) -> tuple[str, bool]:
    """A short name of the judge, and whether it is related to the models that it compares."""
    if name is None:
        return "M1", True
    if is_endpoint(name):
        address = address_of(name)
        return f"{address.model} at the endpoint {address.base_url}", False
    place = same_place(name)
    for t in range(1, recipe.iterations + 2):
        if place == same_place(layout.model(t).uri):
            return f"M{t} of this run", True
    return f"the model {'/'.join(name.rstrip('/').split('/')[-2:])}", place == same_place(recipe.model)


def _method(recipe: Recipe) -> str:
    """``rubric checklist, 1 verdict``."""
    pairwise = recipe.evaluation.head_to_head == "pairwise"
    rubric = recipe.judge.pairwise_rubric if pairwise else recipe.judge.rubric
    verdicts = f"{recipe.judge.verdicts} verdict{'' if recipe.judge.verdicts == 1 else 's'}"
    each = "in each of both orders" if pairwise else "on each answer"
    return f"rubric {PurePosixPath(rubric).stem}, {verdicts} {each}"
