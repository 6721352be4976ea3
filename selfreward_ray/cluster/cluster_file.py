"""Read the node types and limits of a cluster file for `ray up`, with the defaults of Ray 2.60."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yaml import YAMLError

from selfreward_ray.errors import UserError
from selfreward_ray.yaml_text import load_documents

_MAX_WORKERS = {"spark": 8, "vsphere": 5}
"""Ray's default of `max_workers` by provider, from its ``defaults.yaml`` files; 2 for all others."""
_WITHOUT = "leave the cluster file out, and the rehearsal declares the nodes that the recipe asks for"


@dataclass(frozen=True)
class Nodes:
    """Worker nodes of one type."""

    resources: Mapping[str, float]
    """Resources of one node: ``{"CPU": 192, "GPU": 8, "accelerator_type:H100": 1}``. Empty if the file does not declare
    them."""
    most: int
    """Maximum number of nodes (`max_workers` of the type)."""
    least: int = 0
    """Minimum number of nodes, which the autoscaler keeps even without work (`min_workers`)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    """Among types that fit equally well, Ray starts the one with the highest priority."""


@dataclass(frozen=True)
class Shape:
    """A head node and the types of worker nodes that the autoscaler may start, at most `max_workers` in total."""

    head: Mapping[str, float]
    """Resources of the head."""
    workers: dict[str, Nodes]
    """By type. Contains the head's type only if it may have workers, and no type that may have none."""
    max_workers: int
    head_type: str = "head"


def read_cluster_file(path: str | Path) -> Shape:
    """Read the cluster file `path`.

    Raises `UserError` if it cannot be read or is not YAML, and as `parse_cluster_file` does.
    """
    try:
        documents = load_documents(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the cluster file {path}: {error.strerror}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the cluster file {path} is not YAML: {error}") from None
    for document in documents:
        _refuse_kuberay(document, path)
    if len(documents) != 1:
        raise UserError(f"the cluster file {path} has {len(documents)} YAML documents; `ray up` reads files of one")
    return parse_cluster_file(documents[0], path)


def parse_cluster_file(values: Any, path: str | Path) -> Shape:
    """The shape of the cluster that `values`, the content of the file `path`, declare.

    Raises `UserError`, with one line for each wrong field, if Ray's autoscaler would not accept the file, and if it
    declares no node types.
    """
    _refuse_kuberay(values, path)
    if not isinstance(values, dict) or not values.get("available_node_types"):
        raise UserError(
            f"{path} is no cluster file of `ray up` with node types: it needs available_node_types, and head_node_type "
            f"as one of them; or {_WITHOUT}"
        )
    try:
        file = _File.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_explain(detail)}" for detail in error.errors())) from None
    types = file.available_node_types
    head = next(iter(types)) if len(types) == 1 else file.head_node_type
    if head not in types:
        raise UserError(
            f"{path}: head_node_type is {head!r}; it must be one of available_node_types: {', '.join(types)}"
        )
    limit = _default_limit(values) if file.max_workers is None else file.max_workers
    workers = {name: _workers(path, name, node, limit, name == head) for name, node in types.items()}
    if (least := sum(node.least for node in workers.values())) > limit:
        raise UserError(
            f"{path}: max_workers is {limit}, fewer than the {least} nodes that min_workers of the node types ask for; "
            "raise max_workers or lower min_workers"
        )
    return Shape(types[head].resources, {name: node for name, node in workers.items() if node.most}, limit, head)


def _workers(path: str | Path, name: str, node: "_Node", limit: int, head: bool) -> Nodes:
    """Without `max_workers`, the head's type has no workers, and another type as many as the cluster may have."""
    most = (0 if head else limit) if node.max_workers is None else node.max_workers
    least = max(0, node.min_workers - head)  # Ray counts the head as one of them
    if least > most:
        raise UserError(
            f"{path}: available_node_types.{name}: min_workers {node.min_workers} is more than max_workers {most}; "
            "lower the one or raise the other"
        )
    return Nodes(node.resources, most, least, node.labels, node.priority)


def _refuse_kuberay(values: Any, path: str | Path) -> None:
    if isinstance(values, dict) and str(values.get("apiVersion", "")).startswith("ray.io/"):
        raise UserError(
            f"{path} is a {values.get('kind')} of KubeRay (apiVersion {values['apiVersion']}), and no cluster file of "
            f"`ray up`; {_WITHOUT}"
        )


def _default_limit(values: Mapping[str, Any]) -> int:
    provider = values.get("provider")
    return _MAX_WORKERS.get(str(provider.get("type")), 2) if isinstance(provider, dict) else 2


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError
    return int(value)


_Whole = Annotated[int, BeforeValidator(_whole)]
_Count = Annotated[_Whole, Field(ge=0)]


class _Node(BaseModel):
    model_config = ConfigDict(strict=True)

    resources: dict[str, _Count] = {}
    min_workers: _Count = 0
    max_workers: _Count | None = None
    labels: dict[str, str] = {}
    priority: _Whole = 0


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    head_node_type: str = ""
    max_workers: _Count | None = None
    available_node_types: dict[str, _Node]


_WRONG = {
    "value_error": "must be a whole number, for example 4",
    "greater_than_equal": "must be 0 or more",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a mapping, for example resources: {CPU: 192, GPU: 8, 'accelerator_type:H100': 1}",
    "model_type": "must be a mapping that has the type's resources, for example resources: {CPU: 192, GPU: 8}",
}


def _explain(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    return f"{name}: {_WRONG.get(detail['type'], detail['msg'])} (got {detail['input']!r})"
