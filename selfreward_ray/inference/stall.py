"""Detects a stalled pool, and reports what its replicas do until the first block is finished."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError

from selfreward_ray.cluster.capacity import ResourceRequest
from selfreward_ray.cluster.waiting import outlook

POLL_INTERVAL_S = 1.0
"""Seconds between two calls to `PoolHealth`."""


class StallGuard:
    """An execution callback of Ray Data that ends the dataset when no replica has reported to `health` for `seconds`.

    Ray Data's own timeout (``execution_no_progress_timeout_s``) counts only finished blocks as progress. It would end a
    pool whose replicas are still fetching a large model. Ray Data creates one callback per execution.
    """

    def __init__(self, health: Any, seconds: float):
        self._health = health
        self._seconds = seconds
        self._started = self._polled = time.monotonic()

    def on_execution_step(self, _executor: Any) -> None:
        """Raises `ExecutionTimeoutError`, which Ray Data re-raises where the dataset is consumed."""
        now = time.monotonic()
        if now - self._polled < POLL_INTERVAL_S:
            return
        self._polled = now
        idle = ray.get(self._health.idle_seconds.remote())
        if min(now - self._started, idle) >= self._seconds:
            raise ExecutionTimeoutError(f"no sign of life for {self._seconds:g} s")

    def before_execution_starts(self, _executor: Any) -> None: ...

    def after_execution_succeeds(self, _executor: Any) -> None: ...

    def after_execution_fails(self, _executor: Any, error: Exception) -> None: ...


@contextmanager
def reporting_activity(
    health: Any, request: ResourceRequest, note: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Report to `note` what the replicas are doing, or that they wait for `request`, until the context ends or the
    yielded function is called."""
    done = threading.Event()
    started = int(time.time())

    def follow() -> None:
        while not done.wait(POLL_INTERVAL_S):
            with suppress(RayError):  # a cluster that ends is told of by the thread that asks it for rows
                note(ray.get(health.activity.remote()) or f"waiting for {outlook(request, started)}")

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()

    def stop() -> None:
        done.set()
        follower.join()

    try:
        yield stop
    finally:
        stop()
