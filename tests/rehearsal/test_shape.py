"""The declared nodes of a rehearsal."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.cluster.cluster_file import Nodes, Shape
from selfreward_ray.cluster.rehearsal.rehearse import rejections
from selfreward_ray.cluster.rehearsal.shape import shape_of_file, shape_of_recipe
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.text import parse_recipe

FILE = {
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 4, "memory": 10**10}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 96, "GPU": 8, "object_store_memory": 10**11}, "max_workers": 4},
    },
}


def written(folder: Path, values: Any) -> str:
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(file)


def test_a_cluster_files_types_are_declared_without_their_memory(tmp_path: Path):
    shape = shape_of_file(written(tmp_path, FILE))
    assert shape == Shape({"CPU": 4}, {"gpu": Nodes({"CPU": 96, "GPU": 8}, 4)}, 6)


@pytest.mark.parametrize(
    ("types", "name"),
    [
        ({"head": {}}, "head"),
        ({"head": {"resources": {"CPU": 1}}, "g": {"resources": {"GPU": 1}}}, "g"),
    ],
)
def test_a_type_that_leaves_its_resources_to_the_cloud_can_not_be_declared(
    tmp_path: Path, types: dict[str, Any], name: str
):
    file = written(tmp_path, FILE | {"available_node_types": types})
    with pytest.raises(UserError) as refused:
        shape_of_file(file)
    assert f"{file}: available_node_types.{name}: the node type does not say its resources; write them" in str(
        refused.value
    )


def test_a_type_that_may_have_no_nodes_needs_no_resources(tmp_path: Path):
    types = FILE["available_node_types"] | {"off": {"max_workers": 0}}  # type: ignore[operator]
    assert list(shape_of_file(written(tmp_path, FILE | {"available_node_types": types})).workers) == ["gpu"]


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
            {"workers": 16, "gpus_per_worker": 1, "accelerator_type": "H100"},
            {"CPU": 4},
            {"gpus-L40S": 2, "gpus-H100": 2},
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


@given(
    min_replicas=st.integers(1, 9), gpus=st.integers(0, 12), cpus=st.sampled_from([0.5, 20]), nodes=st.integers(1, 3),
    workers=st.integers(1, 16), worker_gpus=st.integers(0, 1), worker_cpus=st.sampled_from([0.5, 2, 7]),
    kinds=st.sampled_from([(None, None), ("L40S", "H100"), ("H100", "H100"), (None, "H100"), ("H100", None)]),
)  # fmt: skip
def test_what_a_recipe_asks_for_has_room_on_its_own_nodes(
    min_replicas: int,
    gpus: int,
    cpus: float,
    nodes: int,
    workers: int,
    worker_gpus: int,
    worker_cpus: float,
    kinds: tuple[str | None, str | None],
):
    inference = {
        "min_replicas": min_replicas, "max_replicas": min_replicas, "gpus_per_replica": gpus, "cpus_per_replica": cpus,
        "nodes_per_replica": nodes if gpus else 1, "accelerator_type": kinds[0],
    }  # fmt: skip
    training = {"workers": workers, "gpus_per_worker": worker_gpus, "cpus_per_worker": worker_cpus}
    training |= {"accelerator_type": kinds[1]}
    recipe = parse_recipe({"model": "none", "inference": inference, "training": training})
    assert rejections(recipe, shape_of_recipe(recipe)) == []
