"""Where a replica's engine is: on one node, or in stages on several."""

import math
from typing import Any

import ray.util
from ray.util.placement_group import PlacementGroup

from selfreward_ray.cluster.asks import replica_ask
from selfreward_ray.recipe.schema import Inference

MOST_BLOCKS = 256


def actor_resources(inference: Inference) -> dict[str, Any]:
    """What the actor of a replica on one node asks of Ray, as arguments of Ray Data's `map`."""
    return {
        "num_cpus": inference.cpus_per_replica,
        "num_gpus": inference.gpus_per_replica,
        "accelerator_type": inference.accelerator_type,
    }


def pool_size(inference: Inference, tokens: int) -> int:
    """Replicas that rows of at least `tokens` tokens in all keep busy, within the recipe's bounds."""
    filled = math.ceil(tokens / inference.tokens_in_flight)
    return min(max(filled, inference.min_replicas), inference.max_replicas)


def blocks_at_a_time(inference: Inference, row_tokens: int) -> int:
    """Blocks that a replica is given: those that fill its engine, and one more, which is there when one ends.

    Each takes a thread of Ray's, and Ray aborts a process whose threads are not all there within ten seconds: so there
    are at most `MOST_BLOCKS`, however small the rows.
    """
    rows = math.ceil(inference.tokens_in_flight / row_tokens)
    return min(math.ceil(rows / inference.rows_per_block) + 1, MOST_BLOCKS)


def stages(name: str, inference: Inference) -> PlacementGroup:
    """The placement group of a replica's stages, by its name; a replica that starts again finds its own.

    Packed, so that the tensor parallel ranks of a stage share a node wherever nodes have room for them.
    """
    try:
        return ray.util.get_placement_group(name)
    except ValueError:
        return ray.util.placement_group([dict(bundle) for bundle in replica_ask(inference).bundles], "PACK", name=name)


def release_stages(prefix: str) -> None:
    """Give back the placement groups whose names begin with `prefix`."""
    for group in ray.util.placement_group_table().values():
        if group["name"].startswith(prefix) and group["state"] != "REMOVED":
            ray.util.remove_placement_group(ray.util.get_placement_group(group["name"]))
