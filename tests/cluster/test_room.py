from typing import Any

import pytest
import ray

from selfreward_ray.cluster.room import check_room
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
