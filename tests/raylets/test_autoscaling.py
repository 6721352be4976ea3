"""Which nodes Ray's own autoscaler starts for a step, of a cluster with two types of GPU and a small head."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.cluster.cluster_file import Nodes, Shape
from selfreward_ray.cluster.rehearsal.raylets import NODE_TYPE, raylets

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

SHAPE = Shape(
    head={"CPU": 4},
    workers={
        "inference": Nodes({"CPU": 64, "GPU": 8, "accelerator_type:L40S": 1}, most=4),
        "training": Nodes({"CPU": 64, "GPU": 8, "accelerator_type:H100": 1}, most=4),
    },
    max_workers=8,
)


def test_a_step_starts_only_nodes_that_it_can_use():
    """CPU work that takes all of the head starts no node, a pool of two L40S replicas two of their nodes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with raylets(SHAPE, idle_seconds=60, environment=environment) as joining:
        done = subprocess.run([sys.executable, __file__], env=joining, stdout=subprocess.PIPE, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["after CPU work"] == {}
    assert seen["after the pool"] == {"inference": 2}
    assert seen["replicas on"] == 2


def nodes() -> dict[str, int]:
    """How many nodes of each type run beside the head."""
    import ray

    kinds = [node["Labels"].get(NODE_TYPE, "head") for node in ray.nodes() if node["Alive"]]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind in SHAPE.workers}


def main() -> dict[str, Any]:
    from pools import Ran, pool_of

    from selfreward_ray.cluster.session import joined

    with joined():
        import ray.data

        # Longer than Ray Data takes to ask for more of what is all in use.
        tasks = ray.data.range(8, override_num_blocks=8).map_batches(lambda rows: time.sleep(6) or rows, batch_size=1)
        assert tasks.count() == 8
        seen: dict[str, Any] = {"after CPU work": nodes()}
        folder = Path(tempfile.mkdtemp())
        pool = {"gpus_per_replica": 8, "accelerator_type": "L40S", "min_replicas": 1, "max_replicas": 2}
        with pool_of(folder, ["0.5"] * 200, f"stand-in://{folder}", {}, pool) as (opened, work):
            assert sum(block.rows for _, block in opened.run([work])) == 200
        seen["after the pool"] = nodes()
        seen["replicas on"] = len({event["node"] for event in Ran(folder, 200, {}).events("started")})
    return seen


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    print(json.dumps(main()))
