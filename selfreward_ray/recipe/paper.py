"""The paper's values of the recipe's fields. Most are the defaults; a few only the paper's own recipe has."""

from typing import Any

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.shipped import shipped_text
from selfreward_ray.recipe.text import flatten, parse_recipe
from selfreward_ray.yaml_text import load_yaml

_PAPERS_OWN = ("model", "seed_data.source", "prompts.proposer", "training.dropout")
"""Fields whose default is not the paper's value, which only the paper's recipe has."""
_IN_NO_RECIPE = {"training.select": "judged", "evaluation.head_to_head": "pairwise"}
"""Values of the paper that are neither defaults nor in its recipe."""
GIVEN = {
    *_PAPERS_OWN, *_IN_NO_RECIPE, "iterations",
    *(f"seed_data.{name}" for name in ("language", "turns", "minimum_rank", "ift", "eft", "held_out", "validation",
                                       "verdicts")),
    *(f"prompts.{name}" for name in ("source", "seed_demonstrations", "new_demonstrations", "filters", "max_rouge_l")),
    *(f"{step}.sampling.{name}" for step in ("prompts", "respond", "judge") for name in ("temperature", "top_p")),
    "respond.candidates", "judge.rubric", "judge.verdicts", "judge.constrained", "pairs.policy",
    *(f"{step}.{name}" for step in ("sft", "dpo") for name in ("learning_rate", "final_learning_rate", "batch_size")),
    "sft.schedule", "dpo.loss", "dpo.beta", "dpo.nll_weight", "dpo.eft_weight", "training.lora.rank",
    "training.select_every",
}  # fmt: skip
"""The fields of which the paper says something. The default of any other field is a choice of this package."""


def paper_values() -> dict[str, Any]:
    """Values by their dotted names: the paper's, or the default where the paper gives none."""
    text = shipped_text("llama2-70b")
    assert text is not None, "the paper's recipe is part of the package"
    papers = flatten(parse_recipe(load_yaml(text)).model_dump(mode="json"))
    defaults = flatten(Recipe(model=papers["model"]).model_dump(mode="json"))
    return {**defaults, **{name: papers[name] for name in _PAPERS_OWN}, **_IN_NO_RECIPE}
