"""Waiting for free resources on a cluster: for a limited time, with what is missing and which nodes failed to start."""

import time
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import ray
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RayError
from ray.util import placement_group, placement_group_table, remove_placement_group

from selfreward_ray.cluster.monitor import launch_errors, monitor_options, on_head
from selfreward_ray.cluster.room import Ask, NodeType, at_most
from selfreward_ray.errors import UserError


def wait_for_room(ask: Ask, timeout_s: float, timeout_field: str, note: Callable[[str], None]) -> None:
    """Return when the cluster has room for all that is asked for: a placement group of it was placed, and given back.

    The placement group is also what an autoscaler starts nodes for. Every second `note` is told what is waited for,
    and what nodes did not start, so that nobody waits for what a quota does not allow.
    Raises `UserError`, with what Ray says of it, after `timeout_s`.
    """
    group = placement_group([dict(bundle) for bundle in ask.bundles] * ask.count, strategy="PACK")
    began, end = int(time.time()), time.monotonic() + timeout_s
    try:
        while not group.wait(timeout_seconds=1):
            found = outlook(ask, began)
            note(f"waiting for {found}")
            if time.monotonic() > end:
                state = placement_group_table(group)["stats"]["scheduling_state"]
                raise UserError(
                    f"{ask.field} = {ask.count}: no room within {timeout_s:g} s ({timeout_field}) for {found}; Ray's "
                    f"placement group: {state}. Raise {timeout_field} where nodes take longer, or lower {ask.field}"
                )
    finally:
        remove_placement_group(group)


def outlook(ask: Ask, since: int) -> str:
    """What is asked for, the room for it now, and the nodes that start, or that did not start `since` then, in seconds
    of `time.time`: ``2 × (1 CPU, 1 GPU, H100): room for 1 of 2 now; starting 1 × training``."""
    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        room, coming, failed = _room_now(ask, status), _coming(status), _failures(status, since)
    except RayError as error:  # a busy head answers late; the next look may tell more
        return f"{ask} (Ray does not say more: {error})"
    starting = [f"starting {coming}"] if coming else []
    return "; ".join([f"{ask}: room for {room} of {ask.count} now", *starting, *failed])


def _room_now(ask: Ask, status: ClusterStatus) -> int:
    """Units for which there is room by what nodes have left."""
    there = [*status.active_nodes, *status.idle_nodes]
    return at_most(ask, [NodeType(node.ray_node_type_name, node.available_resources(), 1) for node in there], None)


def _coming(status: ClusterStatus) -> str:
    """Nodes that an autoscaler starts, by type: ``3 × training``."""
    counts = Counter(node.ray_node_type_name for node in status.pending_nodes)
    for launch in status.pending_launches:
        counts[launch.ray_node_type_name] += launch.count
    return ", ".join(f"{count} × {name}" for name, count in counts.items())


def _failures(status: ClusterStatus, since: int) -> list[str]:
    """The newest launch of each type that failed since then, in the cloud's words where the autoscaler logged them."""
    failed = [(launch.failed_ts_s or 0, launch) for launch in status.failed_launches]
    newest = {launch.ray_node_type_name: launch for at, launch in sorted(failed, key=itemgetter(0)) if at >= since}
    logged = on_head(_logged_errors) if newest else {}
    return [
        f"{launch.count} × {name} failed to start: {logged.get(name, launch.details)}"
        for name, launch in newest.items()
    ]


def _logged_errors() -> dict[str, str]:
    monitor = monitor_options(ray.get_runtime_context().gcs_address)
    try:
        return launch_errors(Path(monitor["logs-dir"]) / "monitor.log") if monitor else {}
    except OSError:  # not for this user to read
        return {}
