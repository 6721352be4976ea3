import socket
from pathlib import Path
from typing import Any

import pytest
import ray

from selfreward_ray.cluster_session import check_room, joined
from selfreward_ray.errors import UserError


class Node:
    def __init__(self, head: bool):
        self.head = head


@pytest.fixture
def on_cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of two CPUs, this process's own or joined, without starting one."""

    def set_up(own: bool) -> None:
        monkeypatch.setattr(ray._private.worker, "_global_node", Node(own))
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})

    return set_up


@pytest.mark.parametrize(
    ("count", "cpus", "gpus", "spare", "message"),
    [
        (2, 1, 0, 1, "3 CPUs, not 2 are needed"),
        (1, 1, 1, 1, "1 GPUs, not 0 are needed"),
        (3, 1, 2, 0, "3 CPUs, not 2 and 6 GPUs, not 0 are needed"),
    ],
)
def test_what_this_machine_can_never_hold_is_refused(
    on_cluster: Any, count: int, cpus: float, gpus: float, spare: float, message: str
):
    on_cluster(own=True)
    with pytest.raises(UserError, match=f"inference.min_replicas = {count}.*{message}"):
        check_room(count, cpus, gpus, "one replica", "inference.min_replicas", spare_cpus=spare)


def test_what_fits_is_let_through(on_cluster: Any):
    on_cluster(own=True)
    check_room(1, 1, 0, "one replica", "inference.min_replicas", spare_cpus=1)
    check_room(2, 1, 0, "one training worker", "training.workers")


def test_a_joined_cluster_may_still_grow(on_cluster: Any):
    on_cluster(own=False)
    check_room(16, 8, 8, "one replica", "inference.min_replicas")


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a cluster that ended: nobody listens there."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_where_no_cluster_is_refused_at_once(gone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*refused.*unset RAY_ADDRESS"), joined():
        pass


def test_a_port_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:port")
    with pytest.raises(UserError, match="head:port takes no connections"), joined():
        pass


def test_a_cluster_of_this_machine_is_asked_for_and_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    with pytest.raises(UserError, match="RAY_ADDRESS=auto: no Ray cluster runs here"), joined():
        pass


def test_what_a_crashed_cluster_left_behind_is_refused_at_once(
    gone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*`ray stop` forgets it"), joined():
        pass
