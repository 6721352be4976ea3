"""Cluster files are read as Ray reads them, and errors name the file, the field and the remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.providers import _get_default_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

from selfreward_ray.cluster.capacity import ResourceRequest, capacity_for, resource_bundle, types_of
from selfreward_ray.cluster.cluster_file import Nodes, Shape, parse_cluster_file, read_cluster_file
from selfreward_ray.cluster.rehearsal.shape import shape_of_file
from selfreward_ray.errors import UserError

GPU = {"resources": {"CPU": 96, "GPU": 8, "accelerator_type:H100": 1}, "node_config": {}}
FILE: dict[str, Any] = {
    "cluster_name": "c",
    "provider": {"type": "aws", "region": "r"},
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 4}, "node_config": {}},
        "gpu": GPU | {"labels": {"zone": "a"}, "min_workers": 1, "max_workers": 4, "priority": 2},
        "spot": GPU,
    },
}
TYPES = FILE["available_node_types"]


def written(folder: Path, text: str) -> str:
    file = folder / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_types_and_limits_are_those_of_the_file():
    gpu, spot = GPU["resources"], GPU["resources"]
    assert parse_cluster_file(FILE, "c.yaml") == Shape(
        {"CPU": 4}, {"gpu": Nodes(gpu, 4, 1, {"zone": "a"}, 2), "spot": Nodes(spot, 6)}, 6, "head"
    )


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in FILE.items() if name not in names}


@pytest.mark.parametrize(
    "values",
    [
        FILE,
        without("max_workers") | {"available_node_types": TYPES | {"gpu": GPU}},
        FILE | {"head_node_type": "gpu"},  # whose min_workers the head itself is
        FILE | {"head_node_type": "spot"},
        FILE | {"available_node_types": TYPES | {"head": TYPES["head"] | {"max_workers": 2, "min_workers": 2}}},
        FILE | {"available_node_types": {"head": TYPES["head"]}},
    ],
    ids=["as it is", "no limit", "head of a kept type", "head without a limit", "workers of the head's type", "one"],
)
def test_defaults_are_those_of_rays_autoscaler(values: dict[str, Any]):
    shape = parse_cluster_file(values, "c.yaml")
    rays = AutoscalingConfig(values, skip_content_hash=True)
    assert shape.max_workers == rays.get_max_num_worker_nodes()
    assert shape.head_type == rays.get_head_node_type()
    for name, node in rays.get_node_type_configs().items():
        heads = int(name == shape.head_type)
        ours = shape.workers.get(name, Nodes({}, 0))
        assert ours.most == node.max_worker_nodes - heads
        assert ours.least == max(0, node.min_worker_nodes - heads)
        assert (shape.head if heads else ours.resources) == node.resources


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure", "spark", "vsphere"])
def test_a_file_without_a_limit_has_that_of_its_provider(provider: str):
    values = without("max_workers") | {"provider": {"type": provider}}
    assert parse_cluster_file(values, "c.yaml").max_workers == _get_default_config({"type": provider})["max_workers"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_workers": "many"}, "max_workers: must be a whole number, for example 4 (got 'many')"),
        ({"max_workers": -1}, "max_workers: must be 0 or more (got -1)"),
        ({"gpu": None}, "available_node_types.gpu: must be a mapping that has the type's resources, for example"),
        ({"gpu": "H100"}, "available_node_types.gpu: must be a mapping that has the type's resources, for example"),
        ({"gpu": {"resources": {"CPU": "eight"}}}, "available_node_types.gpu.resources.CPU: must be a whole number"),
        ({"gpu": {"resources": {"CPU": 0.5}}}, "available_node_types.gpu.resources.CPU: must be a whole number"),
        ({"gpu": {"resources": {"CPU": True}}}, "available_node_types.gpu.resources.CPU: must be a whole number"),
        ({"gpu": {"resources": [8]}}, "available_node_types.gpu.resources: must be a mapping, for example resources:"),
        ({"gpu": GPU | {"labels": "a"}}, "available_node_types.gpu.labels: must be a mapping"),
        (
            {"gpu": GPU | {"labels": {"zone": 1}}},
            "available_node_types.gpu.labels.zone: must be text; put it in quotes",
        ),
        ({"gpu": GPU | {"max_workers": "all"}}, "available_node_types.gpu.max_workers: must be a whole number"),
        ({"gpu": GPU | {"priority": "high"}}, "available_node_types.gpu.priority: must be a whole number"),
        (
            {"gpu": GPU | {"min_workers": 3, "max_workers": 2}},
            "available_node_types.gpu: min_workers 3 is more than max_workers 2; lower the one",
        ),
        ({"gpu": GPU | {"min_workers": 4}, "max_workers": 3}, "min_workers 4 is more than max_workers 3"),
        (
            {"gpu": GPU | {"min_workers": 4}, "spot": GPU | {"min_workers": 3}},
            "max_workers is 6, fewer than the 7 nodes that min_workers of the node types ask for; raise max_workers",
        ),
        (
            {"head_node_type": "none"},
            "head_node_type is 'none'; it must be one of available_node_types: head, gpu, spot",
        ),
        ({"head_node_type": 3}, "head_node_type: must be text; put it in quotes (got 3)"),
        ({"available_node_types": None}, "is no cluster file of `ray up` with node types"),
        ({"available_node_types": "gpu"}, "available_node_types: must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_by_file_field_and_remedy(tmp_path: Path, change: dict[str, Any], message: str):
    types = TYPES | {name: value for name, value in change.items() if name in ("gpu", "spot")}
    rest = {name: value for name, value in change.items() if name not in ("gpu", "spot")}
    file = written(tmp_path, yaml.safe_dump(FILE | {"available_node_types": types} | rest, sort_keys=False))
    with pytest.raises(UserError) as refused:
        read_cluster_file(file)
    assert str(refused.value).startswith(file)
    assert message in str(refused.value)


KUBERAY = "apiVersion: ray.io/v1\nkind: RayCluster\nspec: {workerGroupSpecs: [{groupName: gpu, replicas: 1}]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KUBERAY, "is a RayCluster of KubeRay (apiVersion ray.io/v1), and no cluster file of `ray up`; leave the"),
        ("kind: Namespace\napiVersion: v1\n---\n" + KUBERAY, "is a RayCluster of KubeRay"),
        ("- a\n- list\n", "is no cluster file of `ray up` with node types"),
        ("some words", "is no cluster file of `ray up` with node types"),
        ("", "has 0 YAML documents"),
        ("a: 1\n---\nb: 2\n", "has 2 YAML documents; `ray up` reads files of one"),
        ("a: [1\n", "is not YAML"),
        ("a: 0b_\n", "is not YAML: invalid literal for int"),
        ("[" * 3000, "is not YAML: it is nested too deeply; write fewer"),
        ("a: !!bool x\n", "is not YAML"),
    ],
)
def test_what_is_no_cluster_file_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError) as refused:
        read_cluster_file(written(tmp_path, text))
    assert message in str(refused.value)


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not YAML"):
        read_cluster_file(tmp_path / "c.yaml")
    with pytest.raises(UserError, match=r"cannot read the cluster file .*No such file"):
        read_cluster_file(tmp_path / "none.yaml")


def test_each_wrong_field_has_a_line():
    types = {"head": {"resources": {"CPU": "a"}}, "gpu": {"resources": {"CPU": 1}, "priority": "b"}}
    with pytest.raises(UserError) as refused:
        parse_cluster_file(FILE | {"available_node_types": types}, "c.yaml")
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "available_node_types.head.resources.CPU",
        "available_node_types.gpu.priority",
    ]


def test_a_rehearsal_rejects_what_a_run_rejects(tmp_path: Path):
    """Both know the same nodes of a file: also those of the head's type, and with no limit those of Ray's default."""
    head = TYPES["head"] | {"max_workers": 2}
    values = without("max_workers") | {"available_node_types": {"head": head, "spot": GPU}}
    rehearsed = types_of(shape_of_file(written(tmp_path, yaml.safe_dump(values))))
    run = types_of(parse_cluster_file(values, "bootstrap.yaml"))
    assert rehearsed == run
    assert run is not None
    cpus = ResourceRequest("one", "field", 1000, (resource_bundle(4, 0, None),))
    assert capacity_for(cpus, *run) == 1 + 2 * 24
