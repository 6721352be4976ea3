"""The nodes that a rehearsal declares: those of a cluster file, or such as the recipe asks for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe

_GPUS_A_NODE = 8
"""GPUs of a node where no cluster file says."""


@dataclass(frozen=True)
class Nodes:
    """Nodes of one type: what each has, and how few and how many there may be."""

    resources: dict[str, float]
    most: int
    least: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    """Of types that serve equally well Ray starts the one of the highest first."""


@dataclass(frozen=True)
class Shape:
    """A head, and the types of nodes that an autoscaler may start beside it, `max_workers` of them in all."""

    head: dict[str, float]
    workers: dict[str, Nodes]
    max_workers: int


def shape_of_file(path: str) -> Shape:
    """The node types of a file for `ray up`. Raises `UserError` where it is none, or a type declares no resources."""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can not read the cluster file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the cluster file {path} is not YAML: {error}") from None
    types = config.get("available_node_types") if isinstance(config, dict) else None
    if not isinstance(types, dict) or config.get("head_node_type") not in types:
        raise UserError(
            f"{path} is no cluster file of `ray up`: it needs available_node_types, and head_node_type as one of them"
        )
    limit = int(config.get("max_workers", 2))  # Ray's default
    head = types[config["head_node_type"]]
    return Shape(
        head=_resources(path, config["head_node_type"], head),
        workers={
            name: Nodes(
                _resources(path, name, node),
                most=int(node.get("max_workers", limit)),
                least=int(node.get("min_workers", 0)),
                labels=dict(node.get("labels") or {}),
                priority=int(node.get("priority", 0)),
            )
            for name, node in types.items()
            if name != config["head_node_type"]
        },
        max_workers=limit,
    )


def _resources(path: str, name: str, node: dict[str, Any]) -> dict[str, float]:
    resources = node.get("resources") or {}
    if "CPU" not in resources:
        raise UserError(
            f"{path}: the node type {name!r} does not say its resources; write them, for example "
            "resources: {CPU: 192, GPU: 8, 'accelerator_type:H100': 1}"
        )
    return {kind: float(amount) for kind, amount in resources.items() if kind != "object_store_memory"}


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
        workers[f"gpus-{kind or 'any'}"] = Nodes(resources | ({f"accelerator_type:{kind}": 1.0} if kind else {}), nodes)
    if len(workers) == 1 and next(iter(workers.values())).most == 1:
        (only,) = workers.values()
        return Shape(head=only.resources, workers={}, max_workers=0)
    return Shape(head={"CPU": 4}, workers=workers, max_workers=sum(node.most for node in workers.values()))
