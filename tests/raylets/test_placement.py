"""An engine in pipeline stages on two nodes, of which each has two GPUs, as far as Ray knows."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from pools import Ran
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from selfreward_ray.cluster.placement import groups_released
from selfreward_ray.inference.pool import PoolStopped

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

STAGED = {"min_replicas": 1, "max_replicas": 1, "nodes_per_replica": 2, "gpus_per_replica": 2, "cpus_per_replica": 1}


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    """Ids of two nodes of two GPUs each."""
    added = [cluster.add_node(num_cpus=2, num_gpus=2) for _ in range(2)]
    yield [node.node_id for node in added]
    for node in added:
        cluster.remove_node(node)


def test_the_gpus_of_a_stage_are_on_one_node_and_are_given_back(run: Callable[..., Ran], nodes: list[str]):
    """One bundle a GPU, the replica beside the first of them; vLLM's Ray executor takes its workers' places there."""
    ran = run(["0.1"] * 6, **STAGED)
    (started,) = ran.events("started")
    assert Counter(started["bundles"]) == Counter(dict.fromkeys(nodes, 2))
    assert started["node"] == started["bundles"][0]
    assert len(ran.kept) == 6
    states = {group["state"] for group in ray.util.placement_group_table().values()}
    assert states == {"REMOVED"}


def test_a_replica_in_stages_that_was_killed_starts_again_where_it_was(
    run: Callable[..., Ran], nodes: list[str], tmp_path: Path
):
    killed: list[int] = []

    def kill(done: int) -> None:
        if done >= 3 and not killed:
            killed.append(Ran(tmp_path, 0, {}).events("started")[0]["pid"])
            os.kill(killed[0], signal.SIGKILL)

    ran = run(["0.3"] * 12, kill, **STAGED)
    first, second = ran.events("started")
    assert (first["bundles"], first["node"]) == (second["bundles"], second["node"])
    assert first["pid"] == killed[0] != second["pid"]
    ran.check("staged replica killed")


@pytest.mark.parametrize("ended", ["refuse", "no such model"])
def test_a_pool_in_stages_whose_engines_do_not_start_ends_with_their_error(
    run: Callable[..., Ran], nodes: list[str], tmp_path: Path, ended: str
):
    """After its restarts, or at once for what a restart does not mend."""
    (tmp_path / ended).touch()
    said = "died 2 times .* no memory for the KV cache" if ended == "refuse" else "no such model"
    with pytest.raises(PoolStopped, match=said):
        run(["0.1"] * 4, max_restarts=1, **STAGED)
    assert len(Ran(tmp_path, 0, {}).events("started")) == (2 if ended == "refuse" else 1)
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}


@pytest.mark.usefixtures("cluster")
def test_what_a_failed_attempt_has_reserved_is_free_for_the_next():
    kept = placement_group([{"CPU": 1}])
    ray.get(kept.ready())

    def attempt() -> None:
        with groups_released():
            ray.get(placement_group([{"CPU": 1}] * 2).ready())
            raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        attempt()
    again = placement_group([{"CPU": 1}] * 2)
    assert again.wait(30)
    assert placement_group_table(kept)["state"] == "CREATED"
    for group in (kept, again):
        remove_placement_group(group)
