"""The recipe of a run beside the paper's: the fields that differ, with what they do."""

from dataclasses import dataclass
from typing import Any

from selfreward_ray.recipe.documentation import docstring_of
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.shipped import shipped_text
from selfreward_ray.recipe.text import flatten, parse_recipe
from selfreward_ray.recipe.training import MODEL_FIELDS, PASS_FIELDS
from selfreward_ray.yaml_text import load_yaml

_PAPERS_OWN = ("model", "seed_data.source", "prompts.proposer", "training.dropout")
"""Fields whose default is not the paper's value, which only the paper's recipe has."""
_IN_NO_RECIPE = {"training.select": "judged"}
"""Values of the paper that are neither defaults nor in its recipe."""
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
    here, paper = flatten(recipe.model_dump(mode="json")), _paper()
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


def _paper() -> dict[str, Any]:
    text = shipped_text("llama2-70b")
    assert text is not None, "the paper's recipe is part of the package"
    papers = flatten(parse_recipe(load_yaml(text)).model_dump(mode="json"))
    defaults = flatten(Recipe(model=papers["model"]).model_dump(mode="json"))
    return {**defaults, **{name: papers[name] for name in _PAPERS_OWN}, **_IN_NO_RECIPE}


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
