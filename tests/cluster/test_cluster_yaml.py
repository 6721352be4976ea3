"""Ray and EC2 accept the cluster file, it is large enough for its recipe, and the figures in its comments are right."""

import os
import re
import subprocess
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import load_recipe

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster/aws-autoscaling.yaml"
TEXT = FILE.read_text(encoding="utf-8")
INFERENCE = ("inference-on-demand", "inference-spot")


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("llama2-70b")


def test_ray_accepts_it_as_ray_up_would(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_workers",), "twenty-four"),
        (("idle_minutes",), 10),
        (("available_node_types", "training", "resources", "GPU"), -1),
        (("available_node_types", "inference-spot", "spot"), True),
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
    assert set(types) == {*INFERENCE, "training"}
    assert all(group["resources"]["GPU"] == 8 and group["min_workers"] == 0 for group in types.values())


def test_max_workers_adds_up(config: dict[str, Any]) -> None:
    assert config["max_workers"] == sum(group["max_workers"] for group in config["available_node_types"].values())


def test_inference_is_on_spot_over_a_base_that_is_not(config: dict[str, Any], recipe: Recipe) -> None:
    types = config["available_node_types"]
    markets = {name: group["node_config"].get("InstanceMarketOptions") for name, group in types.items()}
    assert {name for name, market in markets.items() if market} == {"inference-spot"}
    base, spot = (types[name] for name in INFERENCE)
    assert base["resources"] == spot["resources"]
    assert base["node_config"].items() <= spot["node_config"].items()
    assert base["max_workers"] == recipe.inference.min_replicas
    assert base["max_workers"] + spot["max_workers"] == recipe.inference.max_replicas


def test_efa_and_the_placement_group_are_for_training_alone(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    for key in ("NetworkInterfaces", "Placement"):
        assert [name for name, group in types.items() if key in group["node_config"]] == ["training"]
    training = types["training"]["node_config"]
    cards = training["NetworkInterfaces"]
    assert [card["NetworkCardIndex"] for card in cards] == list(range(32))
    # One address a node: the first card alone has an ordinary interface beside its EFA.
    assert [card["InterfaceType"] for card in cards] == ["efa"] + 31 * ["efa-only"]
    assert [card["DeviceIndex"] for card in cards] == [0] + 31 * [1]
    # Every node is in the one group that admits the others.
    groups = {tuple(card["Groups"]) for card in cards} | {
        tuple(group["node_config"]["SecurityGroupIds"]) for name, group in types.items() if name != "training"
    }
    assert groups == {("YOUR-SECURITY-GROUP",)}


def test_the_token_is_asked_for_and_no_secret_stands_in_the_file(config: dict[str, Any]) -> None:
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(command.startswith("source ~/selfreward/profile;") for command in starts)
    assert config["file_mounts"].items() >= {("~/.ray/auth_token", "~/.ray/auth_token")}
    assert not re.search(r"(TOKEN|SECRET|PASSWORD|KEY)\w*=|hf_\w{20}|AKIA\w{12}", TEXT)
    assert not re.search(r"\b(ami|sg|subnet|vpc|i|cr)-[0-9a-f]{8,}\b|\b\d{12}\b", TEXT)  # nor anything of an account


def test_commands_are_shell(config: dict[str, Any]) -> None:
    for section in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[section]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_watch_for_spot_notices_runs_once_beside_ray(config: dict[str, Any], tmp_path: Path) -> None:
    """As Ray runs it by SSH, which must not wait for it; `ray up` runs the start commands again."""
    (command,) = [c for c in config["worker_start_ray_commands"] if "selfreward_ray.cluster.spot" in c]
    mine = tmp_path / "selfreward"
    mine.mkdir()
    python = mine / "python"  # runs until it is told to end
    python.write_text(
        f'#!/bin/bash\necho "$RAY_ADDRESS $*" >> {mine}/started\nwhile [ ! -e {mine}/end ]; do sleep 0.1; done\n'
    )
    python.chmod(0o755)
    (mine / "profile").write_text(f"export PATH={mine}:$PATH\n")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "10.0.0.1"}
    started = mine / "started"
    try:
        for _ in range(2):
            done = subprocess.run(["bash", "-c", f"({command})"], env=environment, capture_output=True, timeout=20)
            assert done.returncode == 0
            give_up = time.monotonic() + 20
            while not started.exists() and time.monotonic() < give_up:
                time.sleep(0.05)
        time.sleep(0.5)
        assert started.read_text().splitlines() == ["10.0.0.1:6379 -m selfreward_ray.cluster.spot"]
    finally:
        (mine / "end").touch()


def test_files_that_nodes_get_are_here_or_made(config: dict[str, Any]) -> None:
    mine = {path for path in config["file_mounts"].values() if not path.startswith("~")}
    assert mine - {"dist"} == {"cluster/prepare-node.sh"}  # `dist` is what the wheel is built into
    assert (ROOT / "cluster/prepare-node.sh").is_file()


def test_the_70b_recipe_fits(config: dict[str, Any], recipe: Recipe) -> None:
    types = config["available_node_types"]
    inference, training = recipe.inference, recipe.training
    for groups, kind, units, gpus, cpus in (
        (
            [types[name] for name in INFERENCE],
            inference.accelerator_type,
            inference.max_replicas,
            inference.gpus_per_replica,
            inference.cpus_per_replica,
        ),
        (
            [types["training"]],
            training.accelerator_type,
            training.workers,
            training.gpus_per_worker,
            training.cpus_per_worker,
        ),
    ):
        room = 0
        for group in groups:
            assert f"accelerator_type:{kind}" in group["resources"]
            on_one_node = min(group["resources"]["GPU"] // gpus, int(group["resources"]["CPU"] // cpus))
            room += on_one_node * group["max_workers"]
        assert units == room  # no node of either kind that the recipe would never use


def test_the_quotas_are_those_of_the_nodes(config: dict[str, Any]) -> None:
    """So many machines of so many vCPUs, by what EC2 counts them under."""
    vcpus = {"r7i.4xlarge": 16, "g6e.48xlarge": 192, "p5.48xlarge": 192}
    types = config["available_node_types"]
    stated = re.findall(r"(Running On-Demand \w+|All G and VT Spot)[^\n]*? (\d+) × (\d+) = +([\d,]+)", TEXT)
    quotas = {name: (int(count), int(each), int(total.replace(",", ""))) for name, count, each, total in stated}
    assert all(count * each == total for count, each, total in quotas.values())
    counted = {
        "Running On-Demand P": "training",
        "Running On-Demand G": "inference-on-demand",
        "All G and VT Spot": "inference-spot",
        "Running On-Demand Standard": "head",
    }
    assert set(quotas) == set(counted)
    for quota, name in counted.items():
        nodes = types[name]["max_workers"] + (name == "head")
        assert quotas[quota][:2] == (nodes, vcpus[types[name]["node_config"]["InstanceType"]])


def test_the_hours_of_idle_fleets_are_those_of_the_file(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    fleet = sum(types[name]["max_workers"] for name in INFERENCE) * config["idle_timeout_minutes"] / 60
    assert f"{fleet:.1f} for all 16 inference nodes" in TEXT
    assert re.search(rf"at most {4 * fleet:.1f}\s+# instance-hours", TEXT)
    training = types["training"]
    assert f"= {training['max_workers'] * training['idle_timeout_s'] / 3600:.2f} instance-hours each time" in TEXT


def launched(config: dict[str, Any], replicas: int) -> dict[str, int]:
    """Nodes that Ray's own scheduler starts for so many replicas of the 70B recipe."""
    replica = ResourceRequestUtil.make({"CPU": 16, "GPU": 8, "accelerator_type:L40S": 0.001})
    node_types = AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs()
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=node_types,
        max_num_nodes=config["max_workers"] + 1,
        resource_requests=ResourceRequestUtil.group_by_count([replica] * replicas),
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler(None).schedule(request).to_launch}


@pytest.mark.parametrize(
    ("replicas", "nodes"),
    [
        (1, {"inference-on-demand": 1}),
        (2, {"inference-on-demand": 2}),
        (5, {"inference-on-demand": 2, "inference-spot": 3}),
        (16, {"inference-on-demand": 2, "inference-spot": 14}),
        (20, {"inference-on-demand": 2, "inference-spot": 14}),
    ],
)
def test_ray_starts_the_base_first_and_spot_beside_it(
    config: dict[str, Any], replicas: int, nodes: dict[str, int]
) -> None:
    assert launched(config, replicas) == nodes


def test_without_a_priority_ray_would_not_begin_with_the_base(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    types["inference-spot"]["priority"] = types["inference-on-demand"].pop("priority")
    assert launched(config, 2) == {"inference-spot": 2}


def test_ray_learns_nothing_from_a_launch_that_ec2_refused() -> None:
    """Why the file has a base on demand: a refused type is asked for again, with the same rank as before."""
    monitor = CloudResourceMonitor()
    refused = InstanceUpdateEvent(
        instance_id="i", instance_type="inference-spot", new_instance_status=Instance.ALLOCATION_FAILED
    )
    monitor.notify([refused])
    assert monitor.get_resource_availabilities() == {}
    assert monitor.get_recoverable_resource_availabilities() == {}
