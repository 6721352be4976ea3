"""Where a replica's engine is: on one node, or in stages on several."""

import math
from typing import Any

import ray.util
from ray.util.placement_group import PlacementGroup

from selfreward_ray.recipe import Inference

Bundle = dict[str, float]


def replica_bundles(inference: Inference) -> tuple[Bundle, ...]:
    """What one replica asks of Ray: a bundle on one node; one a GPU, which is what vLLM's Ray executor wants, where
    its engine has pipeline stages on several nodes."""
    bundle: Bundle = {"CPU": inference.cpus_per_replica}
    if inference.gpus_per_replica:
        bundle["GPU"] = inference.gpus_per_replica
    bundles = [bundle]
    if inference.nodes_per_replica > 1:
        each = {"CPU": inference.cpus_per_replica / inference.gpus_per_replica, "GPU": 1.0}
        bundles = [dict(each) for _ in range(inference.nodes_per_replica * inference.gpus_per_replica)]
    if inference.accelerator_type:
        for each in bundles:
            each[f"accelerator_type:{inference.accelerator_type}"] = 0.001
    return tuple(bundles)


def actor_resources(inference: Inference) -> dict[str, Any]:
    """What the actor of a replica on one node asks of Ray, as arguments of Ray Data's `map`."""
    return {
        "num_cpus": inference.cpus_per_replica,
        "num_gpus": inference.gpus_per_replica,
        "accelerator_type": inference.accelerator_type,
    }


def pool_size(inference: Inference, rows: int, row_tokens: int) -> int:
    """Replicas that `rows` rows of at least `row_tokens` tokens each keep busy, within the recipe's bounds."""
    filled = math.ceil(rows * row_tokens / inference.tokens_in_flight)
    return min(max(filled, inference.min_replicas), inference.max_replicas)


def stages(name: str, inference: Inference) -> PlacementGroup:
    """The placement group of a replica's stages, by its name; a replica that starts again finds its own.

    Packed, so that the tensor parallel ranks of a stage share a node wherever nodes have room for them.
    """
    try:
        return ray.util.get_placement_group(name)
    except ValueError:
        return ray.util.placement_group(list(replica_bundles(inference)), "PACK", name=name)


def release_stages(prefix: str) -> None:
    """Give back the placement groups whose names begin with `prefix`."""
    for group in ray.util.placement_group_table().values():
        if group["name"].startswith(prefix) and group["state"] != "REMOVED":
            ray.util.remove_placement_group(ray.util.get_placement_group(group["name"]))
