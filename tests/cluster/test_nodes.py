"""Which nodes are lost, from hand-made statuses."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from selfreward_ray.cluster import nodes


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the head answer this."""

    def do(status: Any) -> None:
        def get(address: str) -> Any:
            if isinstance(status, Exception):
                raise status
            return status

        monkeypatch.setattr(nodes.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="here"))
        monkeypatch.setattr(nodes, "get_cluster_status", get)

    return do


def test_dead_and_leaving_nodes_are_lost_and_others_are_not(answer: Any):
    def node(name: str, status: str) -> Any:
        return SimpleNamespace(node_id=name, node_status=status)

    answer(
        SimpleNamespace(
            active_nodes=[node("a", "RUNNING"), node("b", "DRAINING")],
            idle_nodes=[node("c", "IDLE")],
            failed_nodes=[node("d", "DEAD")],
        )
    )
    assert nodes.lost_nodes() == {"b", "d"}
    assert nodes.dead_nodes() == {"d"}


def test_while_the_head_does_not_answer_no_node_is_lost(answer: Any):
    answer(GetTimeoutError("late"))
    assert nodes.lost_nodes() == frozenset()
