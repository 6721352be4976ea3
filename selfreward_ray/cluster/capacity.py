"""The capacity of a cluster. A request that it can never hold is refused before anything waits for it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ray

from selfreward_ray.cluster.cluster_file import Shape, read_cluster_file
from selfreward_ray.cluster.monitor import monitor_options, on_head
from selfreward_ray.errors import UserError

ACCELERATOR = "accelerator_type:"
"""Prefix of Ray's resource for the GPU type of a node. A request takes 0.001 of it."""


@dataclass(frozen=True)
class NodeType:
    """Nodes of one type that exist or that an autoscaler may start."""

    name: str
    resources: Mapping[str, float]
    """Resources of one node: ``{"CPU": 192, "GPU": 8, "accelerator_type:H100": 1}``."""
    most: int
    """Maximum number of these nodes at a time."""
    head: bool = False
    """Whether this is the head node, which does not count towards the cluster's `max_workers`."""


@dataclass(frozen=True)
class ResourceRequest:
    """Units, such as training workers, that must be placed at the same time."""

    what: str
    """One unit in words, for messages: ``one training worker``."""
    field: str
    """The recipe field with the number of units: ``training.workers``."""
    count: int
    """Number of units."""
    bundles: tuple[Mapping[str, float], ...]
    """The resources of one unit. Each bundle must fit on one node."""

    def __str__(self) -> str:
        """``64 × (8 CPU, 1 GPU, H100)``."""
        kinds = Counter(describe(bundle) for bundle in self.bundles)
        return " and ".join(f"{self.count * each} × ({kind})" for kind, each in kinds.items())


Types = tuple[list[NodeType], int | None]
"""Node types, and the maximum number of nodes without the head (None: no limit beyond that of each type)."""


def capacity_for(request: ResourceRequest, types: Sequence[NodeType], max_workers: int | None) -> int:
    """The number of requested units that fit at the same time, at most `request.count`.

    Nodes that hold the most bundles are filled first. The result is exact if all bundles are the same.
    """
    useful = request.count * len(request.bundles)

    def held(node: NodeType) -> int:
        return sum(_times(bundle, node.resources, useful) for bundle in request.bundles)

    def nodes(of: Iterable[NodeType]) -> list[dict[str, float]]:
        ordered = sorted(of, key=held, reverse=True)
        return [dict(node.resources) for node in ordered for _ in range(min(node.most, useful))]

    workers = nodes(node for node in types if not node.head)
    left = nodes(node for node in types if node.head) + workers[:max_workers]
    units = 0
    while units < request.count and _place(request.bundles, left):
        units += 1
    return units


def explain_shortage(request: ResourceRequest, types: Sequence[NodeType], max_workers: int | None) -> str | None:
    """A message that explains why the cluster can never hold the request; None if it can."""
    fitting = capacity_for(request, types, max_workers)
    if fitting == request.count:
        return None
    limit = f" (at most {max_workers} nodes beside the head)" if max_workers is not None else ""
    return (
        f"{request.field} = {request.count} asks for {request}, and the cluster can never hold more than {fitting} of "
        f"these at a time: its nodes are, or can be, {_listed(types)}{limit}. "
        f"Lower {request.field} or what {request.what} takes, or raise what the cluster can have"
    )


def check_capacity(request: ResourceRequest) -> None:
    """Raise `UserError` if the cluster that this process joined can never hold the request.

    Without this check Ray would wait forever without a message.
    """
    if (known := cluster_types()) and (shortage := explain_shortage(request, *known)):
        raise UserError(shortage)


def can_hold(requests: Sequence[ResourceRequest]) -> bool:
    """Whether the cluster that this process joined is sure to hold all `requests` at the same time.

    False if this is unknown, and for some that fit in another order: those of the first request are placed first.
    """
    known = cluster_types()
    return known is not None and fit_together(requests, *known)


def fit_together(requests: Sequence[ResourceRequest], types: Sequence[NodeType], max_workers: int | None) -> bool:
    """Whether nodes of these types hold all `requests` at the same time; placed in order, the first ones first."""
    bundles = tuple(bundle for request in requests for bundle in request.bundles * request.count)
    return capacity_for(ResourceRequest("all", "", 1, bundles), types, max_workers) == 1


def resource_bundle(cpus: float, gpus: float, accelerator_type: str | None) -> dict[str, float]:
    """The resource bundle of one process, in Ray's terms."""
    kind = {f"{ACCELERATOR}{accelerator_type}": 0.001} if accelerator_type else {}
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {}) | kind


def describe(resources: Mapping[str, float]) -> str:
    """Resources as text, ``8 CPU, 1 GPU, H100``, without memory and without the resources that identify a node."""
    shown = [
        name.removeprefix(ACCELERATOR) if name.startswith(ACCELERATOR) else f"{amount:g} {name}"
        for name, amount in sorted(resources.items())
        if amount and not name.startswith("node:") and name not in ("memory", "object_store_memory")
    ]
    return ", ".join(shown) or "nothing"


def types_of(shape: Shape) -> Types | None:
    """The node types of a cluster's shape; None if a type does not declare its resources."""
    if not shape.head or not all(node.resources for node in shape.workers.values()):
        return None
    head = NodeType(shape.head_type, shape.head, 1, head=True)
    workers = [NodeType(name, node.resources, node.most) for name, node in shape.workers.items()]
    return [head, *workers], shape.max_workers


def cluster_types() -> Types | None:
    """The node types that the cluster of this process can have: those of its autoscaler's file, or else its nodes.

    None if this is unknown, because the autoscaler runs elsewhere, as with KubeRay, or a type declares no resources.
    """
    grows, known = on_head(_autoscaler_file)  # Ray 2.60 publishes neither autoscaler's configuration
    if grows:
        return known
    return [NodeType("node", node["Resources"], 1) for node in ray.nodes() if node["Alive"]], None


def _autoscaler_file() -> tuple[bool, Types | None]:
    """Whether the cluster of this head may start nodes, and the node types of its autoscaler's file.

    A monitor without a file starts no nodes. Without a monitor, the autoscaler runs elsewhere. This runs on the head,
    so that only node types leave it, not the rest of the file.
    """
    return _file_of(monitor_options(ray.get_runtime_context().gcs_address))


def _file_of(monitor: Mapping[str, str] | None) -> tuple[bool, Types | None]:
    if monitor is None:
        return True, None
    if "autoscaling-config" not in monitor:
        return False, None
    try:
        return True, types_of(read_cluster_file(monitor["autoscaling-config"]))
    except UserError:  # not readable by this user, or without node types
        return True, None


def _times(bundle: Mapping[str, float], resources: Mapping[str, float], most: int) -> int:
    """How many times `bundle` fits into `resources`, at most `most`."""
    return min([most, *(int(resources.get(name, 0) / need + 1e-6) for name, need in bundle.items() if need)])


def _place(bundles: Iterable[Mapping[str, float]], left: list[dict[str, float]]) -> bool:
    """Place `bundles` on nodes with the resources `left`, and subtract them; False if one of them fits nowhere."""
    for bundle in bundles:
        node = next((node for node in left if _times(bundle, node, 1)), None)
        if node is None:
            return False
        for name, need in bundle.items():
            node[name] = node.get(name, 0) - need
    return True


def _listed(types: Iterable[NodeType]) -> str:
    """``1 × head (4 CPU), 8 × training (192 CPU, 8 GPU, H100)``."""
    counts: Counter[str] = Counter()
    for node in types:
        counts[f"{node.name} ({describe(node.resources)})"] += node.most
    return ", ".join(f"{most} × {kind}" for kind, most in counts.items()) or "no node"
