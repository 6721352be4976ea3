"""Pools whose replicas hold GPUs, on raylets that declare some; the engines are stand-ins."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stand_in
from pools import Ran
from ray.cluster_utils import Cluster

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.rounds import open_rounds
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows

pytestmark = [pytest.mark.engines, pytest.mark.cluster]


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Ids of a node of eight GPUs of each type, beside three nodes without any."""
    added = {
        kind: cluster.add_node(num_cpus=8, num_gpus=8, resources={f"accelerator_type:{kind}": 1})
        for kind in ("L40S", "H100")
    }
    yield {kind: node.node_id for kind, node in added.items()}
    for node in added.values():
        cluster.remove_node(node)


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_each_replica_holds_its_gpus(run: Callable[..., Ran], nodes: dict[str, str], gpus: int):
    ran = run(["0.5"] * 100, gpus_per_replica=gpus)  # longer than the second replica takes to start
    started = ran.events("started")
    assert [len(event["gpus"]) for event in started] == [gpus, gpus]
    held = [(event["node"], gpu) for event in started for gpu in event["gpus"]]
    assert len(set(held)) == 2 * gpus
    assert len(ran.kept) == 100
    assert {event["node"] for event in started} <= set(nodes.values())


def test_replicas_are_on_the_type_of_gpu_that_was_asked_for(run: Callable[..., Ran], nodes: dict[str, str]):
    ran = run(["0.1"] * 12, gpus_per_replica=4, accelerator_type="H100")
    assert {event["node"] for event in ran.events("started")} == {nodes["H100"]}
    assert len(ran.kept) == 12


def test_a_pool_that_is_asked_in_rounds_holds_gpus(nodes: dict[str, str], tmp_path: Path):
    """Rounds of fewer rows than fill a block come through: nothing waits for more rows."""
    settings = Inference(gpus_per_replica=1, accelerator_type="L40S", rows_per_block=4)
    job = Job("echo", stand_in.echo, Prompt, Prompt, str(tmp_path / "out"), 8)
    model = f"stand-in://{tmp_path}"
    asked = {"round_rows": 6, "row_tokens": 8, "max_rounds": 30, "note": lambda _: None}
    with open_rounds(model, settings, 0, **asked, open_engine=stand_in.StandIn) as rounds:
        for number in range(3):
            prompts = [Prompt(f"p{number}{i}", "0.1") for i in range(6)]
            assert sum(block.rows for block in rounds.ask(job, prompts)) == 6
    ran = Ran(tmp_path, 0, {})
    assert [(event["node"], len(event["gpus"])) for event in ran.events("started")] == [(nodes["L40S"], 1)]
    assert len(read_rows(Folder(str(tmp_path / "out")), Prompt)) == 18
