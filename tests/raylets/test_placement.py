"""An engine in pipeline stages on two nodes, of which each has two GPUs, as far as Ray knows."""

from collections import Counter
from collections.abc import Callable

import pytest
import ray
from pools import Ran
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.engines


def test_the_gpus_of_a_stage_are_on_one_node_and_are_given_back(run: Callable[..., Ran], cluster: Cluster):
    """One bundle a GPU, the replica beside the first of them; vLLM's Ray executor takes its workers' places there."""
    added = [cluster.add_node(num_cpus=2, num_gpus=2) for _ in range(2)]
    try:
        ran = run(
            ["0.1"] * 6, min_replicas=1, max_replicas=1, nodes_per_replica=2, gpus_per_replica=2, cpus_per_replica=1
        )
        (started,) = ran.events("started")
        assert Counter(started["bundles"]) == Counter({node.node_id: 2 for node in added})
        assert started["node"] == started["bundles"][0]
        assert len(ran.kept) == 6
        states = {group["state"] for group in ray.util.placement_group_table().values()}
        assert states == {"REMOVED"}
    finally:
        for node in added:
            cluster.remove_node(node)
