"""Placement of actors that belong to the driver."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def on_driver_node(cls: type, *arguments: Any, **options: Any) -> Any:
    """Start an actor of `cls` with Ray's `options` on the driver's node. If that node is lost, the run ends anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, **options)(cls).remote(*arguments)
