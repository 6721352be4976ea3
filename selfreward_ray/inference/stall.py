"""When a pool stands still: nothing moved for too long, and no replica gave a sign of life either."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError

from selfreward_ray.cluster.room import Ask
from selfreward_ray.cluster.waiting import outlook

LOOK_EVERY = 1.0
"""Seconds between two questions to the health."""


class StallGuard:
    """An execution callback of Ray Data, which ends the dataset once `health` has had no sign of life for `seconds`.

    Ray Data has such a guard itself (``execution_no_progress_timeout_s``), but to it only blocks are progress: it would
    end a pool whose replicas are still fetching a large model. Ray Data makes one guard an execution.
    """

    def __init__(self, health: Any, seconds: float):
        self._health = health
        self._seconds = seconds
        self._began = self._looked = time.monotonic()

    def on_execution_step(self, _executor: Any) -> None:
        """Raises `ExecutionTimeoutError`, which Ray Data raises again where the dataset is read."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        idle = ray.get(self._health.idle_seconds.remote())
        if min(now - self._began, float("inf") if idle is None else idle) >= self._seconds:
            raise ExecutionTimeoutError(f"no sign of life for {self._seconds:g} s")

    def before_execution_starts(self, _executor: Any) -> None: ...

    def after_execution_succeeds(self, _executor: Any) -> None: ...

    def after_execution_fails(self, _executor: Any, error: Exception) -> None: ...


@contextmanager
def told(health: Any, ask: Ask, note: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Tell `note` what the replicas are doing, or what they wait for, which is `ask`, until the block ends or what is
    yielded is called."""
    done = threading.Event()
    began = int(time.time())

    def follow() -> None:
        while not done.wait(LOOK_EVERY):
            note(ray.get(health.activity.remote()) or f"waiting for {outlook(ask, began)}")

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()

    def stop() -> None:
        done.set()
        follower.join()

    try:
        yield stop
    finally:
        stop()
