"""What workers on GPUs are started with, beside those on CPUs and on GPUs that are only declared."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ranks import Silent
from rich.console import Console

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.recipe.schema import Sft, Training
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.training import trainer
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a group of workers, and returns what Ray Train was given for it."""

    class Trainer:
        def __init__(self, rank: Any, **given: Any):
            started.update(given)

        def fit(self) -> Any:
            return type("Result", (), {"return_value": None})

    started: dict[str, Any] = {}
    monkeypatch.delenv(DECLARED_GPUS, raising=False)
    monkeypatch.setattr(trainer, "TorchTrainer", Trainer)
    monkeypatch.setattr(trainer, "_follow", lambda *_: None)

    def do(**training: Any) -> dict[str, Any]:
        job = TrainJob("SFT", "m", str(tmp_path), SftObjective(), Sft(), Training(**training), 0, "", Silent())
        trainer._attempt(job, Folder(str(tmp_path)), Progress("SFT", 1, "steps", console=Console(file=StringIO())))
        scaling, run = started["scaling_config"], started["run_config"]
        return {
            "backend": started["torch_config"].backend,
            "gpus": scaling.use_gpu,
            "each": scaling.resources_per_worker,
            "environment": run.worker_runtime_env["env_vars"],
        }

    return do


def test_workers_on_gpus_talk_by_nccl_and_keep_pytorchs_threads(start: Any):
    assert start(workers=8, cpus_per_worker=8, gpus_per_worker=1, accelerator_type="H100") == {
        "backend": "nccl",
        "gpus": True,
        "each": {"CPU": 8, "GPU": 1, "accelerator_type:H100": 0.001},
        "environment": {},
    }


@pytest.mark.parametrize(("cpus", "threads"), [(6, "6"), (0.5, "1")])
def test_workers_on_cpus_talk_by_gloo_and_use_their_cpus(start: Any, cpus: float, threads: str):
    assert start(workers=2, cpus_per_worker=cpus) == {
        "backend": "gloo",
        "gpus": False,
        "each": {"CPU": cpus},
        "environment": {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": threads},
    }


def test_workers_on_declared_gpus_hold_them_and_compute_on_one_thread(start: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DECLARED_GPUS, "1")
    assert start(workers=8, cpus_per_worker=8, gpus_per_worker=1) == {
        "backend": "gloo",
        "gpus": True,
        "each": {"CPU": 8, "GPU": 1},
        "environment": {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
    }
