from collections.abc import Callable
from pathlib import Path

import pytest

from selfreward_ray.check.check import check_run, require
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.steps.report import report
from selfreward_ray.steps.status import print_status
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run, next_iteration
from selfreward_ray.store.step import Step


def test_the_recipe_of_a_run_is_read_back(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    recipe = Recipe(model="m0", seed=4)
    claim_run(layout.root, recipe)
    assert layout.recipe() == recipe


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path):
    with pytest.raises(UserError, match="is no run's folder"):
        RunLayout(str(tmp_path)).recipe()


RECIPE = Recipe(model="m0", seed_data=SeedData(source="demo"))
COMMANDS: dict[str, Callable[[str], object]] = {
    "status": print_status,
    "report": report,
    "run": lambda folder: require(finding for finding in check_run(RECIPE, folder) if finding.about == "run folder"),
    "iterate": lambda folder: next_iteration(RunLayout(folder), []),
}


@pytest.mark.parametrize("begun", ["M1/model", "M1/baseline"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_an_earlier_version_is_refused(tmp_path: Path, command: str, begun: str):
    """There a training step and its model shared a folder, finished or not; its recipe may have other fields."""
    (tmp_path / "recipe.yaml").write_text("a_field_that_is_no_more: 1")
    assert not Step("sft", str(tmp_path / begun), {}, {}).is_done()
    with pytest.raises(UserError, match=rf"^{tmp_path} is a run of an earlier version.* another --run-dir$"):
        COMMANDS[command](str(tmp_path))
    assert (tmp_path / "recipe.yaml").read_text() == "a_field_that_is_no_more: 1"


def test_a_run_of_this_version_is_none_of_an_earlier_one(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    claim_run(layout.root, RECIPE)
    for folders in (layout.baseline(), layout.model_layout(1)):
        assert not Step("sft", folders.training.uri, {}, {}).is_done()
        folders.model.write_bytes("config.json", b"{}")
    claim_run(layout.root, RECIPE)
    assert layout.recipe() == RECIPE
