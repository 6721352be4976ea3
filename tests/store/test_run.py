from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.run import RunLayout, claim_run


def test_the_recipe_of_a_run_is_read_back(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    recipe = Recipe(model="m0", seed=4)
    claim_run(layout.root, recipe)
    assert layout.recipe() == recipe


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path):
    with pytest.raises(UserError, match="is no run's folder"):
        RunLayout(str(tmp_path)).recipe()
