from pathlib import Path

import pytest

from selfreward_ray.judging.rubric import load_pairwise, load_rubric
from selfreward_ray.recipe_text import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "jobs" / "recipes").glob("*.yaml"))


def test_there_are_recipes_to_load():
    assert {"quickstart", "llama2-70b"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_can_be_used(path: Path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    load_rubric(recipe.judge.rubric)
    load_pairwise(recipe.judge.pairwise_rubric)
    for optimization in (recipe.sft, recipe.dpo):
        assert optimization.batch_size >= recipe.training.workers  # the trainer refuses less
