import errno
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from selfreward_ray.errors import Final, UserError
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.elastic import Left
from selfreward_ray.training.trainer import _discard_torn, with_restarts


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


def attempts(*outcomes: Any, max_failures: int, said: Any = None) -> list[str]:
    """The starts and the end of a training whose groups of workers have these outcomes: an error is raised."""
    happened: list[str] = []
    left = iter(outcomes)
    said = [] if said is None else said

    def attempt() -> Any:
        happened.append("start")
        outcome = next(left)
        if isinstance(outcome, ray.train.TrainingFailedError):
            raise outcome
        return outcome

    try:
        happened.append(repr(with_restarts(attempt, max_failures, said.append)))
    except Exception as error:
        happened.append(f"{type(error).__name__}: {error}")
    return happened


def test_each_restart_is_counted():
    happened = attempts(failed(RuntimeError("first")), failed(OSError("second")), max_failures=1)
    assert happened == ["start", "start", "OSError: second"]
    _, ended = attempts(failed(RuntimeError("out of memory")), max_failures=0)
    assert ended.startswith("WorkerGroupError: Training failed due to worker errors")
    assert attempts(failed(RuntimeError("first")), None, max_failures=1) == ["start", "start", "None"]


def test_a_node_that_was_taken_back_is_no_failure():
    happened = attempts(failed(TakenBack()), failed(TakenBack()), None, max_failures=0)
    assert happened == ["start"] * 3 + ["None"]
    nodes = ray.train.PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [0]})
    assert attempts(ray.train.PreemptionError(nodes), None, max_failures=0) == ["start", "start", "None"]


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (UserError("no such model"), "UserError: no such model"),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), "PermissionError: [Errno 13] Permission denied"),
        (TypeError("not a Tensor"), "WorkerGroupError: Training failed due to worker errors"),
    ],
)
def test_what_a_retry_can_not_mend_is_not_tried_again(error: Exception, ended: str):
    """On any rank: the others have only heard of it."""
    both = ray.train.WorkerGroupError("failed", {0: RuntimeError("rank 1: it failed"), 1: error})
    started, end = attempts(both, None, max_failures=2)
    assert started == "start"
    assert end.startswith(ended)


def test_what_a_worker_raises_because_another_one_died_is_no_reason_to_end():
    both = ray.train.WorkerGroupError("failed", {0: TakenBack(), 1: TypeError("'NoneType' has no store")})
    assert attempts(both, None, max_failures=0) == ["start", "start", "None"]


def test_why_a_group_starts_again_is_said():
    died = RuntimeError("The actor died unexpectedly.\n\tpid: 7\nThe actor is dead because its node has died.\n")
    said: list[str] = []
    attempts(failed(OSError("connection reset")), failed(TakenBack()), failed(died), None, max_failures=2, said=said)
    begin = "starts again from the newest checkpoint: "
    assert said == [
        begin + "connection reset (failure 1 of at most 2)",
        begin + "a node was taken back",
        begin + "The actor is dead because its node has died. (failure 2 of at most 2)",
    ]


def test_what_ends_all_workers_alike_is_not_tried_again():
    assert attempts(Final("diverged"), max_failures=2) == ["start", "Final('diverged')"]


def test_workers_that_left_at_a_checkpoint_are_followed_by_others_and_are_no_failure():
    assert attempts(Left(), Left(), None, max_failures=0) == ["start"] * 3 + ["None"]
    assert attempts(Left(), Final("diverged"), max_failures=0) == ["start", "start", "Final('diverged')"]


def test_a_worker_that_starts_is_given_up_with_the_users_error():
    assert attempts(failed(UserError("no such model")), max_failures=0) == ["start", "UserError: no such model"]
