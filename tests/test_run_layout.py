from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe, Seed
from selfreward_ray.run_layout import RunLayout
from selfreward_ray.run_store import claim_run


@pytest.mark.parametrize(
    ("iterations", "held_out", "planned"),
    [
        (0, 0, ["M1/seed", "M1/model"]),
        (0, 9, ["M1/seed", "M1/model", "M1/evaluation"]),
        (1, 0, ["M1/seed", "M1/model", "M2/prompts", "M2/judged", "M2/pairs", "M2/model"]),
    ],
)
def test_steps_stand_in_the_order_of_the_loop(iterations: int, held_out: int, planned: list[str]):
    recipe = Recipe(model="m0", iterations=iterations, seed_data=Seed(held_out=held_out))
    steps = RunLayout("s3://bucket/run/").steps(recipe)
    assert [step.folder.uri for step in steps] == [f"s3://bucket/run/{name}" for name in planned]
    assert [step.model for step in steps] == [name[:2] for name in planned]


def test_two_iterations_make_three_models_and_evaluate_each():
    steps = RunLayout("run").steps(Recipe(model="m0", iterations=2))
    assert [(s.name, s.model) for s in steps if s.name in ("sft", "dpo")] == [
        ("sft", "M1"),
        ("dpo", "M2"),
        ("dpo", "M3"),
    ]
    assert [s.model for s in steps if s.name == "evaluate"] == ["M1", "M2", "M3"]


def test_the_recipe_of_a_run_is_read_back(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    recipe = Recipe(model="m0", seed=4)
    claim_run(layout.root, recipe)
    assert layout.recipe() == recipe


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path):
    with pytest.raises(UserError, match="is no run's folder"):
        RunLayout(str(tmp_path)).recipe()
