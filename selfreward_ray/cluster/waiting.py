"""Wait a limited time for free resources, and report what is missing and which nodes failed to start."""

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

from selfreward_ray.cluster.capacity import NodeType, ResourceRequest, capacity_for
from selfreward_ray.cluster.monitor import launch_errors, monitor_options, on_head
from selfreward_ray.cluster.places import Places, Settled
from selfreward_ray.errors import UserError

_SETTLED_S = 10.0
"""Seconds in which a node that is there gives back what a lost worker had, and takes a new one."""


def wait_for_capacity(
    request: ResourceRequest, timeout_s: float, timeout_field: str, note: Callable[[str], None]
) -> None:
    """Wait until the cluster can place the whole request at once.

    Creates a placement group, which makes an autoscaler start nodes, and removes it once it is placed. Every second
    `note` is called with what is missing and which nodes failed to start, for example because of a quota. Raises
    `UserError` with the state of Ray's placement group after `timeout_s` seconds.
    """
    group = placement_group([dict(bundle) for bundle in request.bundles] * request.count, strategy="PACK")
    began, end = int(time.time()), time.monotonic() + timeout_s
    try:
        while not group.wait(timeout_seconds=1):
            found = outlook(request, began)
            note(f"waiting for {found}")
            if time.monotonic() > end:
                state = placement_group_table(group)["stats"]["scheduling_state"]
                raise _too_late(request, timeout_s, timeout_field, found, state)
    finally:
        remove_placement_group(group)


def wait_for_some(
    request: ResourceRequest, least: ResourceRequest, timeout_s: float, timeout_field: str, note: Callable[[str], None]
) -> int:
    """Wait until the cluster can place `least`, a part of `request`. Returns the units of `request` that it can place.

    They are fewer than all where no more come within seconds. Else as `wait_for_capacity`, which places all of them.
    """
    if least.count == request.count:
        wait_for_capacity(least, timeout_s, timeout_field, note)
        return request.count
    places, settled = Places(request, request.count), Settled(request.count, _SETTLED_S)
    began, end = int(time.time()), time.monotonic() + timeout_s
    try:
        while (placed := places.placed(within_s=1)) < least.count or not settled(placed):
            found = outlook(request, began, placed)
            note(f"waiting for {found}")
            if placed < least.count and time.monotonic() > end:
                raise _too_late(least, timeout_s, timeout_field, found, places.state())
    finally:
        places.release()
    return placed


def _too_late(request: ResourceRequest, timeout_s: float, timeout_field: str, found: str, state: str) -> UserError:
    return UserError(
        f"{request.field} = {request.count}: not placed within {timeout_s:g} s ({timeout_field}). {found}; "
        f"Ray's placement group: {state}. "
        f"Raise {timeout_field} where nodes take longer, or lower {request.field}"
    )


def outlook(request: ResourceRequest, since: int, placed: int = 0) -> str:
    """The request, what fits now, and the nodes that are starting or failed to start, as text.

    For example ``2 × (1 CPU, 1 GPU, H100): 1 of 2 fit now; starting 1 × training``. `since` is the time from which
    on failures are reported, in seconds as of `time.time`; `placed` units hold their places already.
    """
    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        fitting = min(request.count, placed + _fitting_now(request, status))
        coming, failed = _coming(status), _failures(status, since)
    except RayError as error:  # a busy head answers late; the next call may succeed
        return f"{request} (Ray does not say more: {error})"
    starting = [f"starting {coming}"] if coming else []
    return "; ".join([f"{request}: {fitting} of {request.count} fit now", *starting, *failed])


def _fitting_now(request: ResourceRequest, status: ClusterStatus) -> int:
    """The number of units that fit into the free resources of nodes."""
    there = [*status.active_nodes, *status.idle_nodes]
    return capacity_for(
        request, [NodeType(node.ray_node_type_name, node.available_resources(), 1) for node in there], None
    )


def _coming(status: ClusterStatus) -> str:
    """The nodes that an autoscaler is starting, by type: ``3 × training``."""
    counts = Counter(node.ray_node_type_name for node in status.pending_nodes)
    for launch in status.pending_launches:
        counts[launch.ray_node_type_name] += launch.count
    return ", ".join(f"{count} × {name}" for name, count in counts.items())


def _failures(status: ClusterStatus, since: int) -> list[str]:
    """The newest failed launch of each type since then, with the cloud's message if the autoscaler logged it."""
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
    except OSError:  # not readable by this user
        return {}
