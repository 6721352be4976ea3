"""Workers whose nodes Ray's own autoscaler is to start: too many of them, and such as come."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.cluster.rehearsal.raylets import raylets
from selfreward_ray.cluster.rehearsal.shape import Nodes, Shape
from selfreward_ray.errors import UserError

pytestmark = pytest.mark.engines

SHAPE = Shape(
    head={"CPU": 1},
    workers={
        "training": Nodes({"CPU": 16, "GPU": 8, "accelerator_type:H100": 1}, most=4),
        "inference": Nodes({"CPU": 16, "GPU": 8, "accelerator_type:L40S": 1}, most=8),
        "plain": Nodes({"CPU": 2, "accelerator_type:A10": 1}, most=1),
    },
    max_workers=13,
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `main` saw, in a process of its own: Ray reads a cluster's token when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("trainings"))]
    with raylets(SHAPE, idle_seconds=60, environment=environment) as joining:
        done = subprocess.run(command, env=joining, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


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
    assert "waiting for 2 × (1 CPU, A10): room for 0 of 2 now; starting 1 × plain" in seen["comes"]["printed"]


def main(folder: Path) -> dict[str, Any]:
    from stub_training import train, within

    from selfreward_ray.cluster.room import Ask, check_room, request
    from selfreward_ray.cluster.session import joined

    def outcome(act: Callable[[StringIO], None]) -> dict[str, Any]:
        printed, began, ended = StringIO(), time.monotonic(), None
        try:
            with within(90):
                act(printed)
        except (UserError, AssertionError) as error:
            ended = str(error)
        return {"ended": ended, "printed": printed.getvalue(), "seconds": time.monotonic() - began}

    def training(name: str, **fields: Any) -> dict[str, Any]:
        return outcome(lambda printed: train(folder / name, printed, start_timeout_s=20, **fields))

    with joined():
        seen: dict[str, Any] = {
            "forty": training("forty", workers=40, gpus_per_worker=1, accelerator_type="H100"),
            "thirty-two": check_room(Ask("a worker", "workers", 32, (request(1, 1, "H100"),))),
            "comes": training("comes", workers=2, accelerator_type="A10"),
        }
    return seen


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    print(json.dumps(main(Path(sys.argv[1]))))
