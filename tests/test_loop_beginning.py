from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.loop import run
from selfreward_ray.recipe import Recipe


def test_a_model_that_is_nowhere_binds_no_folder(tmp_path: Path):
    """A run's recipe can not be changed later: a wrong name must not become part of it."""
    with pytest.raises(UserError, match="model 'nowhere' is neither a folder here, nor a hub name"):
        run(Recipe(model="nowhere"), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
