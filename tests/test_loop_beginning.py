from pathlib import Path
from typing import Any

import pytest

from selfreward_ray import loop
from selfreward_ray.alarms.reactions import StoppedByAlarm
from selfreward_ray.cluster.capacity import ResourceRequest
from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.errors import UserError
from selfreward_ray.loop import advise, check_cluster, run, run_steps
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.store.attempt import read_attempt
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run, next_iteration
from selfreward_ray.store.step import Step

COST = {"tokens": 0, "seconds": 0.0}


@pytest.mark.parametrize("field", ["training.workers", "inference.min_replicas"])
def test_what_a_later_step_can_never_have_ends_the_run_before_the_first(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def check(request: ResourceRequest) -> None:
        if request.field == field:
            raise UserError(f"{field}: too many")

    monkeypatch.setattr(loop, "check_capacity", check)
    with pytest.raises(UserError, match="too many"):
        run(Recipe(model="m", seed_data=SeedData(source="demo")), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("capability", "said"), [("AVX2", "training.dtype=float32 inference.engine.dtype=float32"), ("AVX512", "")]
)
def test_a_cpu_that_is_slow_in_bfloat16_is_told(
    capability: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    advise(Recipe.model_validate({"model": "m", "inference": {"engine": {"dtype": "bfloat16"}}}))
    assert capsys.readouterr().err.strip().endswith(said)
    on_gpus = {
        "training": {"gpus_per_worker": 1},
        "inference": {"gpus_per_replica": 1, "engine": {"dtype": "bfloat16"}},
    }
    advise(Recipe.model_validate({"model": "m", **on_gpus}))
    in_float32 = {"training": {"dtype": "float32"}, "inference": {"engine": {"dtype": "float32"}}}
    advise(Recipe.model_validate({"model": "m", **in_float32}))
    monkeypatch.setenv(DECLARED_GPUS, "1")
    advise(Recipe.model_validate({"model": "m", "inference": {"engine": {"dtype": "bfloat16"}}}))
    assert capsys.readouterr().err == ""


def test_a_finished_run_asks_nothing_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its report needs no cluster."""
    asked: list[Any] = []
    finished = RunLayout(str(tmp_path)).training(3)
    monkeypatch.setattr(loop, "read_manifest", lambda folder: "whole" if folder == finished else None)
    monkeypatch.setattr(loop, "check_capacity", asked.append)
    check_cluster(Recipe(model="m", iterations=2), RunLayout(str(tmp_path)))
    assert asked == []
    check_cluster(Recipe(model="m", iterations=3), RunLayout(str(tmp_path)))
    assert [request.field for request in asked] == ["training.workers", "inference.min_replicas"]


def test_an_iteration_is_the_next_unfinished_one_and_then_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout = RunLayout(str(tmp_path / "run"))
    claim_run(layout.root, Recipe(model="m", iterations=1, seed_data=SeedData(source="demo")))
    taken: list[tuple[str, int]] = []
    monkeypatch.setattr(loop, "check_capacity", lambda request: None)
    monkeypatch.setattr(loop, "report", lambda uri: None)
    monkeypatch.setattr(
        loop, "run_steps", lambda steps, recipe, run: taken.append((steps[-1].model, recipe.iterations))
    )
    for t in range(1, 4):
        made = Step("sft", layout.training(t).uri, {}, {})
        made.is_done()
        made.finish(offered=0)
        recipe, iteration = next_iteration(layout, ["inference.max_replicas=4"] if t == 1 else [])
        run(recipe, layout.uri, iteration)
        assert layout.recipe().inference.max_replicas == 4
    assert taken == [("M2", 1), ("M3", 2), ("M4", 3)]
    assert layout.recipe().iterations == 3


def test_the_report_is_written_after_each_group_of_steps_that_did_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The seed step is finished already; the two pooled steps of M1 are one group. The report of the last group is the
    one that the caller prints."""
    layout, done = RunLayout(str(tmp_path)), []
    names = [("seed", {}), ("sft", {}), ("evaluate", {"model": "m1"}), ("respond", {"model": "m1"}), ("pair", {})]
    steps = [PlannedStep(name, "M1", name, layout.root / name, inputs) for name, inputs in names]
    steps[0].folder.write_json("manifest.json", {"step": "seed", "fingerprint": "", "rows": {}, "dropped": {}} | COST)
    for name in loop.STEPS:
        monkeypatch.setitem(loop.STEPS, name, lambda recipe, *, label, **given: done.append(label) or label)
    monkeypatch.setattr(loop, "run_pooled", lambda *steps, then: None)
    monkeypatch.setattr(loop, "update_report", lambda run: done.append(f"report of {run.uri}"))
    written = f"report of {tmp_path}"
    run_steps(steps, Recipe(model="m"), layout)
    labels = [step.label for step in steps]
    assert done == [labels[0], labels[1], written, labels[2], labels[3], written, labels[4]]
    done.clear()
    run_steps(steps, Recipe(model="m"))
    assert done == labels


def test_a_run_records_how_it_ends_but_not_what_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def alarmed(*_: Any) -> None:
        raise StoppedByAlarm("no better than chance")

    recipe, layout = Recipe(model="m", seed_data=SeedData(source="demo")), RunLayout(str(tmp_path))
    monkeypatch.setattr(loop, "check_capacity", lambda _: None)
    monkeypatch.setattr(loop, "run_plan", alarmed)
    with pytest.raises(StoppedByAlarm):
        run(recipe, layout.uri)
    attempt = read_attempt(layout.root)
    assert attempt is not None
    assert (attempt.how, attempt.error) == ("stopped", "no better than chance")
    with owned(layout.root), pytest.raises(UserError, match="is at work by"):
        run(recipe, layout.uri)
    assert read_attempt(layout.root) == attempt
