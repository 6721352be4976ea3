from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Pairs, Recipe, Seed
from selfreward_ray.run_layout import RunLayout
from selfreward_ray.run_store import claim_run


@pytest.mark.parametrize(
    ("iterations", "held_out", "planned"),
    [
        (0, 0, []),
        (0, 9, ["M1/evaluation"]),
        (1, 0, ["M2/prompts", "M2/judged", "M2/pairs", "M2/model"]),
    ],
)
def test_steps_stand_in_the_order_of_the_loop(iterations: int, held_out: int, planned: list[str]):
    recipe = Recipe(model="m0", iterations=iterations, seed_data=Seed(held_out=held_out))
    steps = RunLayout("s3://bucket/run/").steps(recipe)
    first = ["M1/seed", "M1/baseline", "M1/verdicts", "M1/eft", "M1/model"]
    assert [step.folder.uri for step in steps] == [f"s3://bucket/run/{name}" for name in first + planned]
    assert [step.model for step in steps] == [name[:2] for name in first + planned]


@pytest.mark.parametrize(
    ("seed_data", "planned"),
    [
        (Seed(), ["seed", "baseline", "verdicts", "eft", "sft"]),
        (Seed(verdicts="another/model"), ["seed", "verdicts", "eft", "sft"]),
        (Seed(verdicts="written"), ["seed", "eft", "sft"]),
        (Seed(eft=0), ["seed", "sft"]),
    ],
)
def test_who_writes_the_verdicts_decides_the_steps_to_the_first_model(seed_data: Seed, planned: list[str]):
    steps = RunLayout("run").steps(Recipe(model="m0", iterations=0, seed_data=seed_data))
    assert [step.name for step in steps if step.name != "evaluate"] == planned


def test_positive_examples_are_trained_on_by_sft():
    steps = RunLayout("run").steps(Recipe(model="m0", iterations=1, pairs=Pairs(policy="positive-only")))
    assert [s.name for s in steps if s.model == "M2"] == ["propose", "respond", "pair", "sft", "evaluate"]


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
