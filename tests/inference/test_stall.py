"""When the guard ends a dataset: by the ledger's last sign of life, or where there was none, by its own beginning."""

from typing import Any

import pytest
from ray.data.exceptions import ExecutionTimeoutError

from selfreward_ray.inference import stall
from selfreward_ray.inference.stall import StallGuard


class Ledger:
    """Answers, as its actor's handle does, how long it has had no sign."""

    def __init__(self) -> None:
        self.idle: float | None = None
        self.asked = 0

    @property
    def idle_seconds(self) -> Any:
        return self

    def remote(self) -> float | None:
        self.asked += 1
        return self.idle


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(stall.time, "monotonic", lambda: time[0])
    monkeypatch.setattr(stall.ray, "get", lambda answer: answer)
    return time


def looks(guard: StallGuard, now: list[float], at: float) -> bool:
    """Whether the guard lets the dataset go on at that time."""
    now[0] = at
    try:
        guard.on_execution_step(None)
    except ExecutionTimeoutError:
        return False
    return True


def test_without_any_sign_it_ends_after_its_time(now: list[float]):
    guard = StallGuard(Ledger(), 30)
    assert looks(guard, now, 129)
    assert not looks(guard, now, 130)


def test_a_sign_postpones_the_end(now: list[float]):
    ledger = Ledger()
    guard = StallGuard(ledger, 30)
    for idle, goes_on in [(0, True), (29, True), (5, True), (30, False)]:
        ledger.idle = idle
        assert looks(guard, now, now[0] + 100) == goes_on


def test_signs_from_before_the_execution_do_not_end_it(now: list[float]):
    """Between rounds replicas have nothing to tell."""
    ledger = Ledger()
    ledger.idle = 1000
    guard = StallGuard(ledger, 30)
    assert looks(guard, now, 129)
    assert not looks(guard, now, 131)


def test_the_ledger_is_asked_once_a_second(now: list[float]):
    ledger = Ledger()
    guard = StallGuard(ledger, 30)
    for step in range(100):
        looks(guard, now, 100 + step / 20)
    assert ledger.asked == 4
