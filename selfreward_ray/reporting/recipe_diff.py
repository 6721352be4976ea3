"""The recipe of a run beside the paper's: the fields that differ, with what they do."""

from dataclasses import dataclass
from typing import Any

from selfreward_ray.recipe.documentation import docstring_of
from selfreward_ray.recipe.paper import paper_values
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import flatten
from selfreward_ray.recipe.training import MODEL_FIELDS, PASS_FIELDS

_UNSET = "not set"


@dataclass(frozen=True)
class Difference:
    """A field whose value is not the paper's, or not the default where the paper gives none."""

    field: str
    here: str
    paper: str
    about: str
    """The field's docstring."""
    machine: bool
    """Whether the field only decides where and how fast the run computes."""


def differences(recipe: Recipe) -> tuple[Difference, ...]:
    """The fields of `recipe` that differ from the paper, in the order of the schema; its name and seed are left out."""
    here, paper = flatten(recipe.model_dump(mode="json")), paper_values()
    return tuple(
        Difference(
            field=name,
            here=_shown(here[name]) if name in here else _UNSET,
            paper=_shown(paper[name]) if name in paper else _UNSET,
            about=" ".join(docstring_of(name).replace("``", "").replace("`", "").split()),
            machine=_machine(name),
        )
        for name in {**here, **paper}
        if name not in ("name", "seed") and here.get(name) != paper.get(name)
    )


def _machine(field: str) -> bool:
    section, _, name = field.partition(".")
    if section in ("sft", "dpo"):
        return name in PASS_FIELDS
    if section == "training":
        return name.partition(".")[0] not in MODEL_FIELDS
    return section in ("inference", "endpoint", "tracking")


def _shown(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
