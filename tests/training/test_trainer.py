import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from selfreward_ray.errors import Final, UserError
from selfreward_ray.recipe.schema import Sft, Training
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.training import trainer
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective
from selfreward_ray.training.trainer import _discard_torn, fit


@pytest.mark.parametrize(
    ("text", "kept"), [(json.dumps({"checkpoint_results": []}), True), ('{"checkpoint_res', False)]
)
def test_a_torn_list_of_checkpoints_does_not_stop_a_run_for_ever(text: str, kept: bool, tmp_path: Path):
    ray_folder = Folder(str(tmp_path / "ray_train"))
    (ray_folder / "train").write_bytes("checkpoint_manager_snapshot.json", text.encode())
    printed = StringIO()
    _discard_torn(ray_folder, Progress("DPO", 1, "steps", console=Console(file=printed, width=400)))
    assert (tmp_path / "ray_train").exists() == kept
    assert ("training begins anew" in printed.getvalue()) != kept


class TakenBack(Exception):
    """As Ray says of a worker whose node was taken back, wrapped as Ray Train does."""

    def __init__(self) -> None:
        self.health_check_failure = type("Death", (Exception,), {"preempted": True})()


def failed(failure: Exception) -> Exception:
    error: Exception = ray.train.WorkerGroupError("a worker failed", {0: failure})
    return error


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `fit`; each group of workers has one of the `outcomes`, an error that is raised or what is returned."""

    def do(*outcomes: Any, **training: Any) -> list[str]:
        happened: list[str] = []
        left = list(outcomes)

        def attempt(job: TrainJob, ray_folder: Folder, progress: Any) -> Any:
            happened.append("start")
            outcome = left.pop(0)
            if isinstance(outcome, ray.train.TrainingFailedError):
                raise outcome
            return outcome

        monkeypatch.setattr(trainer, "check_capacity", lambda request: happened.append(f"check {request}"))
        monkeypatch.setattr(
            trainer, "wait_for_capacity", lambda request, seconds, *_: happened.append(f"wait {seconds:g}")
        )
        monkeypatch.setattr(trainer, "on_driver_node", lambda cls: "actor")
        monkeypatch.setattr(trainer, "_attempt", attempt)
        monkeypatch.setattr(ray, "kill", happened.append)
        settings = Training(start_timeout_s=7, **training)
        job = TrainJob("SFT", "m", str(tmp_path), SftObjective(), Sft(batch_size=64), settings, 0, "", None)
        try:
            fit(job, Progress("SFT", 1, "steps", console=Console(file=StringIO())))
        except Exception as error:
            happened.append(f"{type(error).__name__}: {error}")
        return happened

    return do


def test_workers_are_asked_for_with_all_that_they_take(run: Any):
    happened = run(None, workers=40, cpus_per_worker=8, gpus_per_worker=1, accelerator_type="H100")
    assert happened == ["check 40 × (8 CPU, 1 GPU, H100)", "wait 7", "start", "actor"]


def test_each_restart_waits_for_room_again_and_is_counted(run: Any):
    happened = run(failed(RuntimeError("first")), failed(OSError("second")), max_failures=1)
    assert happened[1:] == ["wait 7", "start", "wait 7", "start", "actor", "OSError: second"]
    happened = run(failed(RuntimeError("no room for a tensor")), max_failures=0)
    assert happened[3].startswith("actor")
    assert "WorkerGroupError: Training failed due to worker errors" in happened[4]


def test_a_node_that_was_taken_back_is_no_failure(run: Any):
    happened = run(failed(TakenBack()), failed(TakenBack()), None, max_failures=0)
    assert happened[1:] == ["wait 7", "start"] * 3 + ["actor"]
    nodes = ray.train.PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [0]})
    assert run(ray.train.PreemptionError(nodes), None, max_failures=0)[1:] == ["wait 7", "start"] * 2 + ["actor"]


def test_what_ends_all_workers_alike_is_not_tried_again(run: Any):
    assert run(Final("diverged"), max_failures=2)[1:] == ["wait 7", "start", "actor", "Final: diverged"]


def test_a_worker_that_starts_is_given_up_with_the_users_error(run: Any):
    happened = run(failed(UserError("no such model")), max_failures=0)
    assert happened[-1] == "UserError: no such model"
