from pathlib import Path
from typing import Any

import pytest

from selfreward_ray import loop
from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.cluster.room import Ask
from selfreward_ray.errors import UserError
from selfreward_ray.loop import advise, check_cluster, run
from selfreward_ray.recipe.schema import Recipe, Seed
from selfreward_ray.store.run import RunLayout


def test_a_model_that_is_nowhere_binds_no_folder(tmp_path: Path):
    """A run's recipe can not be changed later: a wrong name must not become part of it."""
    with pytest.raises(UserError, match="model 'nowhere' is neither a folder here, nor a hub name"):
        run(Recipe(model="nowhere", seed_data=Seed(source="demo")), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_without_data_binds_no_folder(tmp_path: Path):
    with pytest.raises(UserError, match=r"seed_data.source is not set: name your ranked conversations"):
        run(Recipe(model="nowhere"), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["training.workers", "inference.min_replicas"])
def test_what_a_later_step_can_never_have_ends_the_run_before_the_first(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def check(ask: Ask) -> None:
        if ask.field == field:
            raise UserError(f"{field}: too many")

    monkeypatch.setattr(loop, "local_model", lambda name, weights: None)
    monkeypatch.setattr(loop, "check_room", check)
    with pytest.raises(UserError, match="too many"):
        run(Recipe(model="m", seed_data=Seed(source="demo")), str(tmp_path / "run"))
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
    """Its report can be made anywhere."""
    asked: list[Any] = []
    finished = RunLayout(str(tmp_path)).training(3)
    monkeypatch.setattr(loop, "read_manifest", lambda folder: "whole" if folder == finished else None)
    monkeypatch.setattr(loop, "check_room", asked.append)
    check_cluster(Recipe(model="m", iterations=2), RunLayout(str(tmp_path)))
    assert asked == []
    check_cluster(Recipe(model="m", iterations=3), RunLayout(str(tmp_path)))
    assert [ask.field for ask in asked] == ["training.workers", "inference.min_replicas"]
