"""The steps of a run, their order, and that their inputs match their functions."""

import inspect
from pathlib import Path
from typing import Literal

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.loop import STEPS
from selfreward_ray.plan import plan
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.recipe.schema import Evaluation, Prompts, Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.recipe.training import Dpo
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
    names = [s.name for s in steps if s.model == "M2"]
    assert names == ["propose", "respond", "pair", "sft", "evaluate", "judge", "head_to_head"]


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
@pytest.mark.parametrize("head_to_head", ["scores", "pairwise"])
def test_every_step_has_a_function_that_takes_its_inputs(
    eft: int, eft_weight: float, verdicts: str, policy: str, head_to_head: Literal["scores", "pairwise"]
):
    recipe = Recipe(
        model="m0",
        evaluation=Evaluation(head_to_head=head_to_head),
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
        "M1 · score answers",
        "M2 · score answers",
        "M2 · against M1",
    ]
    several = Recipe(model="m0", iterations=3)
    for method in ("scores", "pairwise"):
        evaluation = several.evaluation.model_copy(update={"head_to_head": method})
        steps = plan(several.model_copy(update={"evaluation": evaluation}), RunLayout("run"))
        assert len({step.label for step in steps}) == len({step.folder.uri for step in steps}) == len(steps)


def test_steps_that_share_an_engine_are_adjacent():
    """The prompts of all iterations by one proposer, a model's evaluation and its answers, and what M1 judges."""
    steps = plan(Recipe(model="m0", iterations=2), RunLayout("run"))
    shown = {"propose", "evaluate", "respond", "sft", "dpo", "judge"}
    assert [f"{step.name} {step.model}" for step in steps if step.name in shown] == [
        *["propose M2", "propose M3", "sft M1"],
        *["evaluate M1", "respond M2", "dpo M2"],
        *["evaluate M2", "respond M3", "judge M1", "judge M2", "dpo M3"],
        *["evaluate M3", "judge M3"],
    ]


@pytest.mark.parametrize(
    ("evaluation", "planned"),
    [
        (
            {},
            [
                ("judge", "M1/scored", "run/M1/model"),
                ("judge", "M2/scored", "run/M1/model"),
                ("head_to_head", "M2/against-M1", None),
                ("judge", "M3/scored", "run/M1/model"),
                ("head_to_head", "M3/against-M2", None),
                ("head_to_head", "M3/against-M1", None),
            ],
        ),
        (
            {"head_to_head": "pairwise", "judge": "another/model"},
            [
                ("compare", "M2/against-M1", "another/model"),
                ("compare", "M3/against-M2", "another/model"),
                ("compare", "M3/against-M1", "another/model"),
            ],
        ),
        ({"head_to_head": "none"}, []),
    ],
)
def test_each_model_is_compared_with_the_one_before_and_with_m1_by_one_judge(
    evaluation: dict[str, str], planned: list[tuple[str, str, str | None]]
):
    recipe = Recipe.model_validate({"model": "m0", "iterations": 2, "evaluation": evaluation})
    steps = [step for step in plan(recipe, RunLayout("run")) if step.name in ("judge", "compare", "head_to_head")]
    assert [(s.name, s.folder.uri.removeprefix("run/"), s.inputs.get("model")) for s in steps] == planned
    without = recipe.model_copy(update={"seed_data": SeedData(held_out=0)})
    assert not {"judge", "compare", "head_to_head"} & {step.name for step in plan(without, RunLayout("run"))}


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
