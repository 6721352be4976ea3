"""Workers whose nodes Ray's own autoscaler is to start: too many of them, such as come, such as do not."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from selfreward_ray.cluster.cluster_file import Nodes, Shape
from selfreward_ray.cluster.rehearsal import raylets as made
from selfreward_ray.cluster.rehearsal.raylets import raylets
from selfreward_ray.errors import UserError

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

SHAPE = Shape(
    head={"CPU": 1},
    workers={
        "training": Nodes({"CPU": 16, "GPU": 8, "accelerator_type:H100": 1}, most=4),
        "inference": Nodes({"CPU": 16, "GPU": 8, "accelerator_type:L40S": 1}, most=8),
        "plain": Nodes({"CPU": 2, "accelerator_type:A10": 1}, most=1),
        # So small a store of objects is refused when the node starts.
        "sold-out": Nodes({"CPU": 2, "accelerator_type:T4": 1, "object_store_memory": 1}, most=1),
    },
    max_workers=14,
)


def told(command: str, argument: str = "") -> Any:
    """What the function of this file named `command` returns as a driver, in a process of its own: Ray reads a
    cluster's token when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with raylets(SHAPE, idle_seconds=60, environment=environment) as joining:
        driver = [sys.executable, __file__, command, argument]
        done = subprocess.run(driver, env=joining, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    seen: dict[str, Any] = told("trainings", str(tmp_path_factory.mktemp("trainings")))
    return seen


def test_forty_workers_are_refused_where_thirty_two_can_be(seen: dict[str, Any]):
    """Of GPUs of another kind there could be enough."""
    ended = seen["forty"]["ended"]
    assert "training.workers = 40 asks for 40 × (1 CPU, 1 GPU, H100)" in ended
    assert "never hold more than 32 of these at a time" in ended
    assert "4 × training (16 CPU, 8 GPU, H100)" in ended
    assert seen["forty"]["seconds"] < 60
    assert "waiting" not in seen["forty"]["printed"]


def test_thirty_two_are_not_refused(seen: dict[str, Any]):
    assert seen["thirty-two"] is None


def test_a_node_that_comes_is_waited_for(seen: dict[str, Any]):
    assert seen["comes"]["ended"] is None
    assert "waiting for 2 × (1 CPU, A10): 0 of 2 fit now; starting 1 × plain" in seen["comes"]["printed"]


def test_a_node_that_does_not_come_is_waited_for_until_the_time_is_up(seen: dict[str, Any]):
    """Its failure is said as soon as it is known, and is the reason in the end."""
    printed, ended = seen["sold out"]["printed"], seen["sold out"]["ended"]
    assert "waiting for 2 × (1 CPU, T4): 0 of 2 fit now" in printed
    assert "not placed within 60 s (training.start_timeout_s). 2 × (1 CPU, T4)" in ended
    for said in (printed, ended):
        assert "object store memory" in said.split("1 × sold-out failed to start: ")[1]


def test_the_older_autoscaler_has_the_same_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(made._HEAD_ENVIRONMENT, "RAY_enable_autoscaler_v2", "0")
    most = {"ray.head.default": 1} | {name: node.most for name, node in SHAPE.workers.items()}
    assert told("limits") == ["autoscaler/_private/monitor.py", most, SHAPE.max_workers]


def limits(_: str) -> tuple[str, dict[str, int], int | None]:
    """The autoscaler that runs, how many of each type the cluster can have, and how many beside the head."""
    import psutil
    import ray

    from selfreward_ray.cluster.capacity import cluster_types
    from selfreward_ray.cluster.session import joined

    with joined():
        known = cluster_types()
        address = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    assert known is not None
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    (monitor,) = [part for line in commands if address in line for part in line if part.endswith("/monitor.py")]
    return monitor.split("/ray/")[-1], {node.name: node.most for node in known[0]}, known[1]


def trainings(folder: str) -> dict[str, Any]:
    from stub_training import train, within

    from selfreward_ray.cluster import waiting
    from selfreward_ray.cluster.capacity import ResourceRequest, check_capacity, resource_bundle
    from selfreward_ray.cluster.session import joined

    def outcome(act: Callable[[StringIO], None]) -> dict[str, Any]:
        printed, began, ended = StringIO(), time.monotonic(), None
        try:
            with within(200):
                act(printed)
        except (UserError, AssertionError) as error:
            ended = str(error)
        return {"ended": ended, "printed": printed.getvalue(), "seconds": time.monotonic() - began}

    def training(name: str, **fields: Any) -> dict[str, Any]:
        return outcome(lambda printed: train(Path(folder) / name, printed, **fields))

    def until_failed() -> dict[str, Any]:
        """A training whose clock stands still until it has said that a node did not start."""

        def sold_out(printed: StringIO) -> None:
            clock = mock.Mock(time=time.time)
            clock.monotonic.side_effect = lambda: 1e9 if "failed to start" in printed.getvalue() else 0.0
            with mock.patch.object(waiting, "time", clock):
                train(Path(folder) / "sold-out", printed, workers=2, accelerator_type="T4", start_timeout_s=60)

        return outcome(sold_out)

    with joined():
        seen: dict[str, Any] = {
            "forty": training("forty", workers=40, gpus_per_worker=1, accelerator_type="H100"),
            "thirty-two": check_capacity(ResourceRequest("a worker", "workers", 32, (resource_bundle(1, 1, "H100"),))),
            "comes": training("comes", workers=2, accelerator_type="A10", start_timeout_s=120),
            "sold out": until_failed(),
        }
    return seen


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    print(json.dumps({"limits": limits, "trainings": trainings}[sys.argv[1]](sys.argv[2])))
