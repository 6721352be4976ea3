"""The nodes that a rehearsal declares: those of a cluster file, or such as the recipe asks for."""

from collections.abc import Mapping
from dataclasses import replace

from selfreward_ray.cluster.cluster_file import Nodes, Shape, read_cluster_file
from selfreward_ray.cluster.room import ACCELERATOR
from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe

_GPUS_A_NODE = 8
"""GPUs of a node where no cluster file says."""


def shape_of_file(path: str) -> Shape:
    """The node types of a file for `ray up`. Raises `UserError` where it is none, or a type declares no resources."""
    declared = read_cluster_file(path)
    workers = {
        name: replace(node, resources=_resources(path, name, node.resources)) for name, node in declared.workers.items()
    }
    return replace(declared, head=_resources(path, declared.head_type, declared.head), workers=workers)


def _resources(path: str, name: str, declared: Mapping[str, float]) -> dict[str, float]:
    """Without memory, which Ray takes by options of its own and no step asks for."""
    if "CPU" not in declared:
        raise UserError(
            f"{path}: available_node_types.{name}: the node type does not say its resources; write them, for example "
            "resources: {CPU: 192, GPU: 8, 'accelerator_type:H100': 1}"
        )
    return {kind: amount for kind, amount in declared.items() if kind not in ("memory", "object_store_memory")}


def shape_of_recipe(recipe: Recipe) -> Shape:
    """Nodes that hold what the recipe asks for at most: one where its GPUs, or CPUs, fit on one.

    Inference and training take turns, so that GPUs of the same type are the same GPUs.
    """
    inference, training = recipe.inference, recipe.training
    replicas = inference.max_replicas * inference.nodes_per_replica
    cpus = max(replicas * inference.cpus_per_replica, training.workers * training.cpus_per_worker)
    wanted: dict[str | None, int] = {}
    for kind, gpus in (
        (inference.accelerator_type, replicas * inference.gpus_per_replica),
        (training.accelerator_type, training.workers * training.gpus_per_worker),
    ):
        if gpus:
            wanted[kind] = max(wanted.get(kind, 0), gpus)
    if not wanted:
        return Shape(head={"CPU": cpus + 1}, workers={}, max_workers=0)
    each = max(_GPUS_A_NODE, inference.gpus_per_replica)
    workers = {}
    for kind, gpus in wanted.items():
        on_a_node = min(gpus, each)
        nodes = -(-gpus // on_a_node)
        resources = {"CPU": -(-cpus // nodes) + 1, "GPU": float(on_a_node)}
        workers[f"gpus-{kind or 'any'}"] = Nodes(resources | ({f"{ACCELERATOR}{kind}": 1.0} if kind else {}), nodes)
    if len(workers) == 1 and next(iter(workers.values())).most == 1:
        (only,) = workers.values()
        return Shape(head=only.resources, workers={}, max_workers=0)
    return Shape(head={"CPU": 4}, workers=workers, max_workers=sum(node.most for node in workers.values()))
