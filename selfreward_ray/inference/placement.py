"""Placement of a replica's engine: on one node, or in pipeline stages on several nodes."""

import math
from typing import Any

import ray
import ray.util
from ray.util.placement_group import PlacementGroup, placement_group_table

from selfreward_ray.cluster.requests import replica_request
from selfreward_ray.recipe.schema import Inference

MOST_BLOCKS = 256


def actor_resources(inference: Inference) -> dict[str, Any]:
    """Resource requests of a replica's actor on one node, as arguments of Ray Data's `map`."""
    return {
        "num_cpus": inference.cpus_per_replica,
        "num_gpus": inference.gpus_per_replica,
        "accelerator_type": inference.accelerator_type,
    }


def pool_size(inference: Inference, tokens: int) -> int:
    """Number of replicas that `tokens` tokens in total keep busy, within the recipe's bounds."""
    filled = math.ceil(tokens / inference.tokens_in_flight)
    return min(max(filled, inference.min_replicas), inference.max_replicas)


def blocks_at_a_time(inference: Inference, row_tokens: int) -> int:
    """Number of blocks that a replica processes concurrently: enough to fill its engine, plus one in reserve.

    Each block takes a thread of the actor. Ray aborts a process whose threads do not all start within ten seconds, so
    there are at most `MOST_BLOCKS`, however small the rows.
    """
    rows = math.ceil(inference.tokens_in_flight / row_tokens)
    return min(math.ceil(rows / inference.rows_per_block) + 1, MOST_BLOCKS)


def stages(name: str, inference: Inference) -> PlacementGroup:
    """The placement group `name` for a replica's stages, created on first use; a restarted replica gets its own again.

    The strategy is PACK, so that the tensor-parallel ranks of a stage share a node wherever they fit.
    """
    try:
        return ray.util.get_placement_group(name)
    except ValueError:
        return ray.util.placement_group(
            [dict(bundle) for bundle in replica_request(inference).bundles], "PACK", name=name
        )


def engine_nodes() -> frozenset[str]:
    """Ids of the nodes on which this replica's engine runs: its own, and those of its stages."""
    group = ray.util.get_current_placement_group()
    stages = placement_group_table(group)["bundles_to_node_id"].values() if group else ()
    return frozenset({ray.get_runtime_context().get_node_id(), *stages})


def release_stages(prefix: str) -> None:
    """Remove the placement groups whose names begin with `prefix`."""
    for group in ray.util.placement_group_table().values():
        if group["name"].startswith(prefix) and group["state"] != "REMOVED":
            ray.util.remove_placement_group(ray.util.get_placement_group(group["name"]))
