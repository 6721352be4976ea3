"""When the guard ends a dataset: by the last heartbeat, or by the start of the execution if there was none."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import ActorUnavailableError

from selfreward_ray.cluster.capacity import ResourceRequest, resource_bundle
from selfreward_ray.inference import stall
from selfreward_ray.inference.stall import StallGuard, reporting_activity


class PoolHealth:
    """Stands in for the actor's handle: returns the seconds since the last heartbeat."""

    def __init__(self) -> None:
        self.idle = 1000.0
        self.asked = 0

    @property
    def idle_seconds(self) -> Any:
        return self

    def remote(self) -> float:
        self.asked += 1
        return self.idle


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(stall.time, "monotonic", lambda: time[0])
    monkeypatch.setattr(stall.ray, "get", lambda answer: answer)
    return time


def looks(guard: StallGuard, now: list[float], at: float) -> bool:
    """Whether the guard lets the dataset continue at time `at`."""
    now[0] = at
    try:
        guard.on_execution_step(None)
    except ExecutionTimeoutError:
        return False
    return True


def test_without_a_heartbeat_the_dataset_ends_at_the_limit(now: list[float]):
    guard = StallGuard(PoolHealth(), 30)
    assert looks(guard, now, 129)
    assert not looks(guard, now, 130)


def test_a_heartbeat_resets_the_timeout(now: list[float]):
    health = PoolHealth()
    guard = StallGuard(health, 30)
    for idle, goes_on in [(0, True), (29, True), (5, True), (30, False)]:
        health.idle = idle
        assert looks(guard, now, now[0] + 100) == goes_on


def test_heartbeats_before_the_execution_do_not_end_it(now: list[float]):
    """Between rounds replicas report nothing."""
    health = PoolHealth()
    health.idle = 1000
    guard = StallGuard(health, 30)
    assert looks(guard, now, 129)
    assert not looks(guard, now, 131)


def test_the_actor_is_called_once_a_second(now: list[float]):
    health = PoolHealth()
    guard = StallGuard(health, 30)
    for step in range(100):
        looks(guard, now, 100 + step / 20)
    assert health.asked == 4


def test_activity_is_reported_until_the_first_block_is_done(monkeypatch: pytest.MonkeyPatch):
    answers = iter([None])
    health = SimpleNamespace(activity=SimpleNamespace(remote=lambda: next(answers, "starting the engine")))
    monkeypatch.setattr(stall, "POLL_INTERVAL_S", 0.001)
    monkeypatch.setattr(stall.ray, "get", lambda answer: answer)
    monkeypatch.setattr(stall, "outlook", lambda request, since: f"{request}: none fits")
    said: list[str] = []
    second = threading.Event()

    def note(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            second.set()

    with reporting_activity(
        health, ResourceRequest("one replica", "inference.min_replicas", 2, (resource_bundle(1, 8, "L40S"),)), note
    ) as came:
        assert second.wait(30)
        came()
        at_the_end = list(said)
    assert at_the_end[:2] == ["waiting for 2 × (1 CPU, 8 GPU, L40S): none fits", "starting the engine"]
    assert said == at_the_end


def test_a_cluster_that_does_not_answer_leaves_the_report_going_on(monkeypatch: pytest.MonkeyPatch):
    asked = iter([ActorUnavailableError("the node is gone", None)])
    told = threading.Event()

    def get(_answer: Any) -> str:
        for error in asked:
            raise error
        return "starting the engine"

    health = SimpleNamespace(activity=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(stall, "POLL_INTERVAL_S", 0.001)
    monkeypatch.setattr(stall.ray, "get", get)
    request = ResourceRequest("one replica", "inference.min_replicas", 1, (resource_bundle(1, 0, None),))
    with reporting_activity(health, request, lambda text: told.set()):
        assert told.wait(30)
