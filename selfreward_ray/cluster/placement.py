"""Placement of actors that belong to the driver."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LASTING = {"max_restarts": -1, "max_task_retries": -1}
"""Ray options for an actor that is restarted without its state."""


def on_driver_node(cls: type, *arguments: Any, **options: Any) -> Any:
    """Start an actor of `cls` with Ray's `options` on the driver's node. If that node is lost, the run ends anyway; if
    only the actor's process is, as by a system that is short of memory, `LASTING` starts it again."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, **options)(cls).remote(*arguments)
