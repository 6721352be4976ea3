"""The cluster file is what Ray accepts, and large enough for the recipe that names it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from selfreward_ray.recipe_text import load_recipe

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster/aws-autoscaling.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def test_ray_accepts_it_as_ray_up_would(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_workers",), "twenty-four"),
        (("idle_minutes",), 10),
        (("available_node_types", "training", "resources", "GPU"), -1),
        (("available_node_types", "inference", "spot"), True),
        (("worker_start_ray_commands",), "ray start"),
    ],
)
def test_a_broken_copy_is_refused(config: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    broken = deepcopy(config)
    section = broken
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(ValidationError):
        validate_config(prepare_config(broken))


def test_the_head_is_not_one_of_the_gpu_machines(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["GPU"] == 0
    assert head["max_workers"] == 0
    assert set(types) == {"inference", "training"}
    assert all(group["resources"]["GPU"] == 8 and group["min_workers"] == 0 for group in types.values())


def test_max_workers_adds_up(config: dict[str, Any]) -> None:
    assert config["max_workers"] == sum(group["max_workers"] for group in config["available_node_types"].values())


def test_only_inference_is_on_spot(config: dict[str, Any]) -> None:
    markets = {
        name: group["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        for name, group in config["available_node_types"].items()
    }
    assert markets == {"head": None, "inference": "spot", "training": None}


def test_the_token_is_asked_for_and_stands_nowhere(config: dict[str, Any]) -> None:
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(command.startswith("source ~/selfreward/profile;") for command in starts)
    assert config["file_mounts"].items() >= {("~/.ray/auth_token", "~/.ray/auth_token")}
    assert "RAY_AUTH_TOKEN=" not in FILE.read_text(encoding="utf-8")


def test_the_70b_recipe_fits(config: dict[str, Any]) -> None:
    recipe = load_recipe(ROOT / "jobs/recipes/llama2-70b.yaml")
    for group, share, units, gpus, cpus in (
        (
            config["available_node_types"]["inference"],
            recipe.inference.accelerator_type,
            recipe.inference.max_replicas,
            recipe.inference.gpus_per_replica,
            recipe.inference.cpus_per_replica,
        ),
        (
            config["available_node_types"]["training"],
            recipe.training.accelerator_type,
            recipe.training.workers,
            recipe.training.gpus_per_worker,
            recipe.training.cpus_per_worker,
        ),
    ):
        on_one_node = min(group["resources"]["GPU"] // gpus, int(group["resources"]["CPU"] // cpus))
        assert f"accelerator_type:{share}" in group["resources"]
        assert units <= on_one_node * group["max_workers"]
