"""Placement of actors that belong to the driver, and placement groups that Ray Train leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LASTING = {"max_restarts": -1, "max_task_retries": -1}
"""Ray options for an actor that is restarted without its state."""


def on_driver_node(cls: type, *arguments: Any, **options: Any) -> Any:
    """Start an actor of `cls` with Ray's `options` on the driver's node. If that node is lost, the run ends anyway; if
    only the actor's process is, as by a system that is short of memory, `LASTING` starts it again."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, **options)(cls).remote(*arguments)


@contextmanager
def groups_released() -> Iterator[None]:
    """Where the block fails, remove the placement groups that this job has made in it.

    Ray Train 2.60 forgets the group of workers of which one dies while they start, and keeps it until the job ends: the
    next workers would wait for the resources that it holds.
    """
    before = _groups()
    try:
        yield
    except Exception:
        for group in _groups() - before:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))
        raise


def _groups() -> set[str]:
    """Ids of this job's placement groups. Each ends with the job's id."""
    job = ray.get_runtime_context().get_job_id()
    table = placement_group_table()
    return {group for group, found in table.items() if group.endswith(job) and found["state"] != "REMOVED"}
