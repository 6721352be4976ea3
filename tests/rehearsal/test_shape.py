"""Which nodes a rehearsal declares."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_ray.cluster.rehearsal.shape import Nodes, Shape, shape_of_file, shape_of_recipe
from selfreward_ray.errors import UserError
from selfreward_ray.recipe_text import parse_recipe

FILE = {
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 4}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 96, "GPU": 8, "accelerator_type:H100": 1, "object_store_memory": 10**11},
            "labels": {"zone": "a"},
            "min_workers": 1,
            "max_workers": 4,
            "priority": 2,
        },
        "spot": {"resources": {"CPU": 96, "GPU": 8}},
    },
}


def written(folder: Path, values: Any) -> str:
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(file)


def test_a_cluster_files_types_are_declared_as_they_are(tmp_path: Path):
    gpu = Nodes({"CPU": 96.0, "GPU": 8.0, "accelerator_type:H100": 1.0}, 4, 1, {"zone": "a"}, priority=2)
    spot = Nodes({"CPU": 96.0, "GPU": 8.0}, most=6)
    assert shape_of_file(written(tmp_path, FILE)) == Shape({"CPU": 4.0}, {"gpu": gpu, "spot": spot}, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_node_type": "none"}, "no cluster file of `ray up`"),
        ({"available_node_types": None}, "no cluster file of `ray up`"),
        ({"available_node_types": {"head": {}}}, "'head' does not say its resources"),
        ({"available_node_types": {"head": {"resources": {"CPU": 1}}, "g": {"resources": {"GPU": 1}}}}, "'g' does not"),
    ],
)
def test_a_file_that_can_not_be_declared_is_refused(tmp_path: Path, change: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        shape_of_file(written(tmp_path, FILE | change))


def test_a_kuberay_manifest_and_a_missing_file_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no cluster file of `ray up`"):
        shape_of_file(written(tmp_path, {"apiVersion": "ray.io/v1", "kind": "RayCluster"}))
    with pytest.raises(UserError, match="can not read the cluster file"):
        shape_of_file(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("inference", "training", "head", "workers"),
    [
        ({}, {"workers": 2}, {"CPU": 3.0}, {}),
        ({"gpus_per_replica": 1}, {"workers": 1, "gpus_per_worker": 1}, {"CPU": 2.0, "GPU": 1.0}, {}),
        (
            {"gpus_per_replica": 1, "max_replicas": 8, "accelerator_type": "H100"},
            {"workers": 8, "gpus_per_worker": 1, "accelerator_type": "H100"},
            {"CPU": 9.0, "GPU": 8.0, "accelerator_type:H100": 1.0},
            {},
        ),
        (
            {"gpus_per_replica": 8, "max_replicas": 2, "accelerator_type": "L40S"},
            {"workers": 32, "gpus_per_worker": 1, "accelerator_type": "H100"},
            {"CPU": 4},
            {"gpus-L40S": 2, "gpus-H100": 4},
        ),
    ],
    ids=["CPUs", "one GPU", "one node of eight", "two types"],
)
def test_without_a_file_there_are_the_nodes_that_the_recipe_asks_for(
    inference: dict[str, Any], training: dict[str, Any], head: dict[str, float], workers: dict[str, int]
):
    recipe = parse_recipe({"model": "none", "inference": inference, "training": training})
    shape = shape_of_recipe(recipe)
    assert shape.head == head
    assert {name: node.most for name, node in shape.workers.items()} == workers
    assert all(node.resources["GPU"] == 8 for node in shape.workers.values())
