"""Nodes that are lost, or about to be."""

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RayError

DEAD, LEAVING = "DEAD", "DRAINING"
"""States of a node in Ray: gone, and about to be taken back, of which a spot instance is told."""


def nodes_in(*states: str) -> frozenset[str]:
    """Ids of the nodes that are in one of `states`; none where the head does not answer."""
    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
    except RayError:
        return frozenset()
    nodes = [*status.active_nodes, *status.idle_nodes, *status.failed_nodes]
    return frozenset(node.node_id for node in nodes if node.node_status in states)


def lost_nodes() -> frozenset[str]:
    """Ids of nodes whose processes end through no fault of their own."""
    return nodes_in(DEAD, LEAVING)


def dead_nodes() -> frozenset[str]:
    """Ids of nodes that are gone."""
    return nodes_in(DEAD)
