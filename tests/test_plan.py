"""The steps of a run, their order, and that their inputs match their functions."""

import inspect
from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.loop import STEPS
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Dpo, Pairs, Prompts, Recipe, SeedData
from selfreward_ray.store.run import RunLayout

FIRST = ["M1/baseline/training", "M1/verdicts", "M1/eft", "M1/training"]


@pytest.mark.parametrize(
    ("iterations", "held_out", "planned"),
    [
        (0, 0, ["M1/seed", *FIRST]),
        (0, 9, ["M1/seed", *FIRST, "M1/evaluation"]),
        (1, 0, ["M1/seed", "M2/prompts", *FIRST, "M2/judged", "M2/pairs", "M2/training"]),
    ],
)
def test_steps_stand_in_the_order_of_the_loop(iterations: int, held_out: int, planned: list[str]):
    recipe = Recipe(model="m0", iterations=iterations, seed_data=SeedData(held_out=held_out))
    steps = plan(recipe, RunLayout("s3://bucket/run/"))
    assert [step.folder.uri for step in steps] == [f"s3://bucket/run/{name}" for name in planned]
    assert [step.model for step in steps] == [name[:2] for name in planned]


@pytest.mark.parametrize(
    ("seed_data", "planned"),
    [
        (SeedData(), ["seed", "baseline", "verdicts", "eft", "sft"]),
        (SeedData(verdicts="another/model"), ["seed", "verdicts", "eft", "sft"]),
        (SeedData(verdicts="written"), ["seed", "eft", "sft"]),
        (SeedData(eft=0), ["seed", "sft"]),
    ],
)
def test_who_writes_the_verdicts_decides_the_steps_to_the_first_model(seed_data: SeedData, planned: list[str]):
    steps = plan(Recipe(model="m0", iterations=0, seed_data=seed_data), RunLayout("run"))
    assert [step.name for step in steps if step.name != "evaluate"] == planned


def test_positive_examples_are_trained_on_by_sft():
    steps = plan(Recipe(model="m0", iterations=1, pairs=Pairs(policy="positive-only")), RunLayout("run"))
    assert [s.name for s in steps if s.model == "M2"] == ["propose", "respond", "pair", "sft", "evaluate"]


def test_each_model_is_evaluated_before_the_next_is_made():
    steps = plan(Recipe(model="m0", iterations=2), RunLayout("run"))
    assert [(s.name, s.model) for s in steps if s.name in ("sft", "dpo", "evaluate")] == [
        ("sft", "M1"),
        ("evaluate", "M1"),
        ("dpo", "M2"),
        ("evaluate", "M2"),
        ("dpo", "M3"),
        ("evaluate", "M3"),
    ]


@pytest.mark.parametrize(("eft", "eft_weight"), [(0, 0.0), (100, 0.0), (100, 0.5)])
@pytest.mark.parametrize("verdicts", ["baseline", "written", "another/model"])
@pytest.mark.parametrize("policy", ["best-worst", "positive-only"])
def test_every_step_has_a_function_that_takes_its_inputs(eft: int, eft_weight: float, verdicts: str, policy: str):
    recipe = Recipe(
        model="m0",
        seed_data=SeedData(eft=eft, verdicts=verdicts),
        pairs=Pairs(policy=policy),
        dpo=Dpo(eft_weight=eft_weight),
    )
    made = set()
    for step in plan(recipe, RunLayout("run")):
        inspect.signature(STEPS[step.name]).bind(recipe, **step.inputs, out=step.out, label=step.label)
        earlier = step.inputs.get("earlier", [])
        read = {str(uri) for uri in [*step.inputs.values(), *earlier] if str(uri).startswith("run/")}
        assert read <= made, "an input is made before it is read"
        made |= {step.folder.uri, f"{step.out}/model"}


def test_labels_are_the_models_and_the_steps():
    labels = [step.label for step in plan(Recipe(model="m0", iterations=1), RunLayout("run"))]
    assert labels == [
        "M1 · seed data",
        "M2 · prompts",
        "M1 · SFT baseline",
        "M1 · verdicts",
        "M1 · EFT",
        "M1 · SFT",
        "M1 · evaluate",
        "M2 · respond and judge",
        "M2 · pairs",
        "M2 · DPO",
        "M2 · evaluate",
    ]


def test_steps_that_share_an_engine_are_adjacent():
    """The prompts of all iterations by one proposer, and a model's evaluation and its answers."""
    steps = plan(Recipe(model="m0", iterations=2), RunLayout("run"))
    names = [step.name for step in steps if step.name in ("propose", "evaluate", "respond", "sft", "dpo")]
    assert names == [
        *["propose", "propose", "sft"],
        *["evaluate", "respond", "dpo"],
        *["evaluate", "respond", "dpo"],
        "evaluate",
    ]


@pytest.mark.parametrize(
    "proposer", ["run/M1/model", "run/M1/model/", "{here}/run/M1/model", "file://{here}/run/M1/model"]
)
def test_m1_proposes_once_it_is_there(proposer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    proposer = proposer.format(here=tmp_path)
    steps = plan(Recipe(model="m0", iterations=2, prompts=Prompts(proposer=proposer)), RunLayout("run"))
    made = [f"{step.name} {step.model}" for step in steps]
    assert made[made.index("sft M1") :][:4] == ["sft M1", "propose M2", "propose M3", "evaluate M1"]
    assert sum(step.name == "propose" for step in steps) == 2


def test_a_model_does_not_propose_what_it_is_trained_on():
    recipe = Recipe(model="m0", iterations=2, prompts=Prompts(proposer="run/M2/model"))
    with pytest.raises(UserError, match=r"run/M2/model is trained on prompts of this run, .*name M1 \(run/M1/model\)"):
        plan(recipe, RunLayout("run"))
