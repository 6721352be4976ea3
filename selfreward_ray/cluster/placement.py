"""Where actors of the driver's own are."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def on_driver_node(cls: type, *arguments: Any) -> Any:
    """An actor of `cls` on the driver's own node: without that there is no run to go on."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(cls).remote(*arguments)
