"""What workers on GPUs are started with, beside those on CPUs and on GPUs that are only declared."""

from typing import Any

import pytest

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.recipe.training import Sft, Training
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective
from selfreward_ray.training.trainer import settings


@pytest.fixture(autouse=True)
def real_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DECLARED_GPUS, raising=False)


def start(**training: Any) -> dict[str, Any]:
    """What Ray Train is given for a group of workers."""
    job = TrainJob("SFT", "m", "out", SftObjective(), Sft(), Training(**training), 0, "", None)
    given = settings(job, 2, Folder("out"))
    assert given["scaling_config"].num_workers == 2, "those that are there"
    return {
        "backend": given["torch_config"].backend,
        "gpus": given["scaling_config"].use_gpu,
        "each": given["scaling_config"].resources_per_worker,
        "environment": given["run_config"].worker_runtime_env["env_vars"],
    }


def test_workers_on_gpus_talk_by_nccl_and_keep_pytorchs_threads():
    assert start(workers=8, cpus_per_worker=8, gpus_per_worker=1, accelerator_type="H100") == {
        "backend": "nccl",
        "gpus": True,
        "each": {"CPU": 8, "GPU": 1, "accelerator_type:H100": 0.001},
        "environment": {},
    }


@pytest.mark.parametrize(("cpus", "threads"), [(6, "6"), (0.5, "1")])
def test_workers_on_cpus_talk_by_gloo_and_use_their_cpus(cpus: float, threads: str):
    assert start(workers=2, cpus_per_worker=cpus) == {
        "backend": "gloo",
        "gpus": False,
        "each": {"CPU": cpus},
        "environment": {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": threads},
    }


def test_workers_on_declared_gpus_hold_them_and_compute_on_one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DECLARED_GPUS, "1")
    assert start(workers=8, cpus_per_worker=8, gpus_per_worker=1) == {
        "backend": "gloo",
        "gpus": True,
        "each": {"CPU": 8, "GPU": 1},
        "environment": {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
    }
