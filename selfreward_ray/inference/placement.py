"""Where a replica's engine is: on one node, or in stages on several."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.util
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from selfreward_ray.recipe import Inference


@contextmanager
def placed(inference: Inference) -> Iterator[dict[str, Any]]:
    """What each actor of a pool asks of Ray, as arguments of `map_batches`; placement groups are given back at the end.

    On one node the actor itself holds the GPUs of its tensor parallel engine. An engine of several pipeline stages
    (``nodes_per_replica``) gets a placement group: one bundle a GPU, which is what vLLM's Ray executor wants, packed
    so that the tensor parallel ranks of a stage share a node wherever nodes have room for them.
    """
    if inference.nodes_per_replica == 1:
        yield {
            "num_cpus": inference.cpus_per_replica,
            "num_gpus": inference.gpus_per_replica,
            "accelerator_type": inference.accelerator_type,
        }
        return
    groups: list[PlacementGroup] = []

    def of_an_actor() -> dict[str, Any]:
        groups.append(_stages(inference))
        strategy = PlacementGroupSchedulingStrategy(groups[-1], 0, placement_group_capture_child_tasks=True)
        return {"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": strategy}

    try:
        yield {"ray_remote_args_fn": of_an_actor}
    finally:
        for group in groups:
            ray.util.remove_placement_group(group)


def _stages(inference: Inference) -> PlacementGroup:
    bundle = {"CPU": inference.cpus_per_replica / inference.gpus_per_replica, "GPU": 1.0}
    if inference.accelerator_type:
        bundle[f"accelerator_type:{inference.accelerator_type}"] = 0.001
    return ray.util.placement_group([bundle] * inference.nodes_per_replica * inference.gpus_per_replica, "PACK")
