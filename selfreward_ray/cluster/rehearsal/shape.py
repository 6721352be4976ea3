"""The declared nodes of a rehearsal: those of a cluster file, or nodes that fit the recipe."""

import math
from collections.abc import Mapping
from dataclasses import replace

from selfreward_ray.cluster.capacity import ACCELERATOR
from selfreward_ray.cluster.cluster_file import Nodes, Shape, read_cluster_file
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe

_GPUS_A_NODE, _HEAD_CPUS = 8, 4
"""GPUs of a node, and CPUs of a head with other nodes, if there is no cluster file."""
_KEPT = 2
"""Maximum number of nodes that are kept without work. Each node is several processes of this machine."""


def shape_of_file(path: str) -> Shape:
    """The node types of a cluster file for `ray up`, with at most `_KEPT` permanent nodes of each type.

    Raises `UserError` if it is no such file, or if a type declares no resources.
    """
    declared = read_cluster_file(path)
    workers = {
        name: replace(node, resources=_resources(path, name, node.resources), least=min(node.least, _KEPT))
        for name, node in declared.workers.items()
    }
    return replace(declared, head=_resources(path, declared.head_type, declared.head), workers=workers)


def _resources(path: str, name: str, declared: Mapping[str, float]) -> dict[str, float]:
    """The declared resources without memory, which Ray sets by other options and no step requests."""
    if "CPU" not in declared:
        raise UserError(
            f"{path}: available_node_types.{name}: the node type does not say its resources; write them, for example "
            "resources: {CPU: 192, GPU: 8, 'accelerator_type:H100': 1}"
        )
    return {kind: amount for kind, amount in declared.items() if kind not in ("memory", "object_store_memory")}


def shape_of_recipe(recipe: Recipe) -> Shape:
    """Nodes that hold the recipe's maximum requests; a single node if everything fits on it.

    Inference and training never run at the same time, so they share nodes of the same type.
    """
    inference, training = recipe.inference, recipe.training
    parts = inference.max_replicas * inference.nodes_per_replica
    head, types = 0.0, dict[str, Nodes]()
    for units, cpus, gpus, kind in (
        (parts, inference.cpus_per_replica, inference.gpus_per_replica, inference.accelerator_type),
        (training.workers, training.cpus_per_worker, training.gpus_per_worker, training.accelerator_type),
    ):
        on_a_node = min(units, max(1, _GPUS_A_NODE // gpus) if gpus else units)
        resources = {"CPU": float(math.ceil(on_a_node * cpus) + 1)}
        if not gpus and not kind:
            head = max(head, resources["CPU"])
            continue
        if gpus:
            resources["GPU"] = float(on_a_node * gpus)
        if kind:
            resources[f"{ACCELERATOR}{kind}"] = 1.0
        name = f"gpus-{kind or 'any'}"
        nodes = Nodes(resources, math.ceil(units / on_a_node))
        types[name] = _larger(types[name], nodes) if name in types else nodes
    if not types:
        return Shape({"CPU": head}, {}, max_workers=0)
    (only, *others) = types.values()
    if only.most == 1 and not others:
        return Shape(_larger(only, Nodes({"CPU": head}, 1)).resources, {}, max_workers=0)
    return Shape({"CPU": max(head, _HEAD_CPUS)}, types, max_workers=sum(node.most for node in types.values()))


def _larger(one: Nodes, other: Nodes) -> Nodes:
    """Nodes that are large enough to replace either."""
    kinds = {**one.resources, **other.resources}
    resources = {kind: max(one.resources.get(kind, 0), other.resources.get(kind, 0)) for kind in kinds}
    return Nodes(resources, max(one.most, other.most))
