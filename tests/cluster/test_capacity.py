"""The capacity of declared node types. `tests/raylets/test_capacity_on_raylets.py` tests real clusters."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.cluster import capacity
from selfreward_ray.cluster.capacity import (
    NodeType,
    ResourceRequest,
    can_hold,
    capacity_for,
    check_capacity,
    explain_shortage,
    fit_together,
    resource_bundle,
    types_of,
)
from selfreward_ray.cluster.cluster_file import parse_cluster_file, read_cluster_file
from selfreward_ray.cluster.monitor import monitor_options
from selfreward_ray.errors import UserError

HEAD = NodeType("head", {"CPU": 4}, 1, head=True)
L40S = NodeType("inference", {"CPU": 192, "GPU": 8, "accelerator_type:L40S": 1}, 16)
H100 = NodeType("training", {"CPU": 192, "GPU": 8, "accelerator_type:H100": 1}, 4)


def workers(count: int, cpus: float = 8, kind: str | None = "H100") -> ResourceRequest:
    return ResourceRequest("one training worker", "training.workers", count, (resource_bundle(cpus, 1, kind),))


def replicas(count: int, cpus: float = 1, gpus: float = 0) -> ResourceRequest:
    return ResourceRequest("one replica", "inference.min_replicas", count, (resource_bundle(cpus, gpus, None),))


@pytest.mark.parametrize(
    ("wanted", "fitting"),
    [
        (workers(32), 32),
        (workers(40), 32),
        (workers(200, kind=None), 160),
        (workers(40, cpus=48), 16),  # four a node, by its CPUs
        (workers(1, kind="A100"), 0),
        (workers(1, cpus=193), 0),
        (replicas(5, cpus=4), 5),  # on nodes with GPUs where the head is full
        (replicas(5, cpus=0), 5),
    ],
)
def test_a_node_is_of_one_kind_and_holds_whole_units(wanted: ResourceRequest, fitting: int):
    assert capacity_for(wanted, [HEAD, L40S, H100], 20) == fitting


@pytest.mark.parametrize(
    ("requests", "together"),
    [
        ([workers(32), replicas(16, cpus=16, gpus=8)], True),  # the replicas are on nodes of the other kind
        ([workers(32), replicas(17, cpus=16, gpus=8)], False),
        ([workers(30), replicas(2, cpus=8, gpus=1)], True),
        ([workers(8, cpus=24), replicas(33, cpus=192)], False),  # CPUs of the workers' nodes are taken
        ([workers(33)], False),
    ],
)
def test_requests_fit_together_if_each_has_its_own_place(requests: list[ResourceRequest], together: bool):
    assert fit_together(requests, [HEAD, L40S, H100], 20) == together


def test_what_a_cluster_can_hold_is_not_sure_where_nobody_knows_what_there_can_be(monkeypatch: pytest.MonkeyPatch):
    known: list[Any] = [None, ([HEAD], None)]
    monkeypatch.setattr(capacity, "cluster_types", lambda: known.pop(0))
    assert [can_hold([replicas(4)]) for _ in range(2)] == [False, True]


def test_all_types_together_have_a_limit():
    """Of the nodes that may be there beside the head those count that hold most."""
    small = NodeType("small", {"CPU": 96, "GPU": 4, "accelerator_type:H100": 1}, 4)
    assert capacity_for(workers(100), [HEAD, small, H100], 5) == 4 * 8 + 4
    assert capacity_for(workers(100), [HEAD, small, H100], None) == 4 * 8 + 4 * 4


def test_bundles_of_one_unit_may_be_on_several_nodes():
    """Stages of four GPUs fit once on nodes that have six; bundles of one GPU fill them."""
    nodes = [NodeType("node", {"CPU": 64, "GPU": 6}, 2)]
    stages = ResourceRequest("one replica", "inference.min_replicas", 2, (resource_bundle(1, 4, None),) * 2)
    single = ResourceRequest("one replica", "inference.min_replicas", 2, (resource_bundle(1, 1, None),) * 6)
    assert (capacity_for(stages, nodes, None), capacity_for(single, nodes, None)) == (1, 2)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 4)), max_size=4),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 3),
    st.none() | st.integers(0, 6),
)
def test_for_equal_bundles_it_is_what_counting_says(
    nodes: list[tuple[int, int, int]], count: int, cpus: int, bundles: int, limit: int | None
):
    types = [NodeType(f"t{i}", {"CPU": c, "GPU": g}, most) for i, (c, g, most) in enumerate(nodes)]
    a_node = sorted((min(c // cpus, g) for c, g, most in nodes for _ in range(most)), reverse=True)
    request = ResourceRequest("one", "field", count, (resource_bundle(cpus, 1, None),) * bundles)
    assert capacity_for(request, types, limit) == min(count, sum(a_node[:limit]) // bundles)


def test_the_message_names_type_count_and_remedy():
    assert explain_shortage(workers(32), [HEAD, L40S, H100], 20) is None
    assert explain_shortage(workers(40), [HEAD, L40S, H100], 20) == (
        "training.workers = 40 asks for 40 × (8 CPU, 1 GPU, H100), and the cluster can never hold more than 32 of "
        "these at a time: its nodes are, or can be, 1 × head (4 CPU), 16 × inference (192 CPU, 8 GPU, L40S), "
        "4 × training (192 CPU, 8 GPU, H100) (at most 20 nodes beside the head). Lower training.workers or what one "
        "training worker takes, or raise what the cluster can have"
    )


def test_nodes_that_are_there_are_counted_by_what_they_have():
    """Ray adds its own resources to those of a node."""
    marks = {"memory": 1e9, "object_store_memory": 1e9}
    nodes = [NodeType("node", {"CPU": 2, f"node:10.0.0.{i}": 1} | marks, 1) for i in range(2)]
    message = explain_shortage(replicas(5, cpus=1), nodes, None)
    assert message is not None
    assert "5 × (1 CPU), and the cluster can never hold more than 4 of these" in message
    assert "are, or can be, 2 × node (2 CPU). Lower" in message


def test_a_cluster_file_says_what_there_can_be():
    known = types_of(read_cluster_file(Path(__file__).parents[2] / "cluster/aws-autoscaling.yaml"))
    assert known is not None
    types, limit = known
    assert [(node.name, node.most, node.head) for node in types] == [
        ("head", 1, True),
        ("inference-on-demand", 2, False),
        ("inference-spot", 14, False),
        ("training", 4, False),
    ]
    assert limit == 20
    assert (capacity_for(workers(32), types, limit), capacity_for(workers(33), types, limit)) == (32, 32)


def test_a_type_without_a_limit_has_the_clusters_and_the_heads_type_may_have_workers_too():
    node = {"resources": {"CPU": 8}}
    file = {
        "max_workers": 5,
        "head_node_type": "a",
        "available_node_types": {"a": node | {"max_workers": 2}, "b": node},
    }
    known = types_of(parse_cluster_file(file, "c.yaml"))
    assert known is not None
    assert [(node.name, node.most, node.head) for node in known[0]] == [
        ("a", 1, True),
        ("a", 2, False),
        ("b", 5, False),
    ]
    assert capacity_for(replicas(10, cpus=8), *known) == 6


def test_a_type_that_declares_nothing_may_hold_anything():
    """As a cluster of given machines does: what they have is seen when they start."""
    local = {"max_workers": 2, "available_node_types": {"local": {"resources": {}}}}
    assert types_of(parse_cluster_file(local, "c.yaml")) is None
    cloud = {"head_node_type": "a", "available_node_types": {"a": {"resources": {"CPU": 8}}, "b": {"resources": {}}}}
    assert types_of(parse_cluster_file(cloud, "c.yaml")) is None


def test_without_any_limit_there_are_as_many_as_ray_starts():
    types = {"a": {"resources": {"CPU": 4}}, "b": {"resources": {"CPU": 8}}}
    known = types_of(parse_cluster_file({"head_node_type": "a", "available_node_types": types}, "c.yaml"))
    assert known is not None
    assert known[1] == 2
    assert capacity_for(replicas(5000, cpus=4), *known) == 1 + 2 * 2


def test_nodes_that_have_nothing_are_said():
    message = explain_shortage(workers(1), [], None)
    assert message is not None
    assert "its nodes are, or can be, no node. Lower" in message
    message = explain_shortage(workers(1), [NodeType("node", {"CPU": 0}, 1)], None)
    assert message is not None
    assert "1 × node (nothing). Lower" in message


def test_nothing_is_refused_where_nobody_knows_what_there_can_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(capacity, "cluster_types", lambda: None)
    check_capacity(workers(1000))
    monkeypatch.setattr(capacity, "cluster_types", lambda: ([H100], 4))
    with pytest.raises(UserError, match="never hold more than 32"):
        check_capacity(workers(1000))


class TestMonitor:
    """The head's monitor process, by which it is known whether the cluster grows, and by which file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "bootstrap.yaml"
        types = {"a": {"resources": {"CPU": 8}, "max_workers": 3}}
        file.write_text(yaml.safe_dump({"max_workers": 3, "available_node_types": types}))
        return file

    def ask(self, tmp_path: Path, *commands: list[str]) -> Any:
        for number, command in enumerate(commands):
            (tmp_path / "proc" / str(number)).mkdir(parents=True)
            (tmp_path / "proc" / str(number) / "cmdline").write_text("\0".join(command))
        (tmp_path / "proc" / "77" / "cmdline").mkdir(parents=True)  # cannot be read, as that of a process that ended
        return capacity._file_of(monitor_options("10.0.0.1:6379", tmp_path / "proc"))

    def test_the_file_of_the_own_clusters_monitor_is_read(self, tmp_path: Path, file: Path):
        ours = ["python", "/ray/autoscaler/v2/monitor.py", "--gcs-address=10.0.0.1:6379"]
        other = [*ours[:2], "--gcs-address=10.0.0.2:6379"]
        agent = ["python", "/ray/dashboard/agent.py", "--gcs-address=10.0.0.1:6379"]
        assert self.ask(tmp_path / "others", other, agent) == (True, None)
        grows, known = self.ask(tmp_path, other, agent, [*ours, f"--autoscaling-config={file}"])
        assert grows
        assert known is not None
        assert [(node.name, node.most) for node in known[0]] == [("a", 1), ("a", 3)]

    def test_a_monitor_without_a_file_starts_no_nodes(self, tmp_path: Path):
        ours = ["python", "/ray/autoscaler/_private/monitor.py", "--gcs-address=10.0.0.1:6379"]
        assert self.ask(tmp_path, ours) == (False, None)

    def test_a_file_that_is_not_for_this_user_may_say_anything(self, tmp_path: Path):
        ours = ["python", "/ray/monitor.py", "--gcs-address=10.0.0.1:6379", f"--autoscaling-config={tmp_path}/none"]
        assert self.ask(tmp_path, ours) == (True, None)

    def test_a_file_without_node_types_may_say_anything(self, tmp_path: Path):
        (tmp_path / "local.yaml").write_text("provider: {type: local}")
        ours = [
            "python",
            "/ray/monitor.py",
            "--gcs-address=10.0.0.1:6379",
            f"--autoscaling-config={tmp_path}/local.yaml",
        ]
        assert self.ask(tmp_path, ours) == (True, None)

    def test_without_a_monitor_the_autoscaler_runs_elsewhere(self, tmp_path: Path):
        assert self.ask(tmp_path) == (True, None)
