"""A replica: one actor of the pool, which owns one engine, and ends its process when that is lost.

Ray Data retries a block where an actor's process died, but an exception would end the whole dataset. So whatever a
new process can mend ends this one: Ray starts another, on this node or the next, and hands it the same blocks.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Job, OpenEngine, ReplicaEngine, run_block, run_row
from selfreward_ray.inference.engine import EngineDead
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.health import GIVEN_UP_AFTER
from selfreward_ray.inference.metrics import Metrics
from selfreward_ray.inference.placement import stages
from selfreward_ray.inference.programs import LanguageModel
from selfreward_ray.inference.reaper import bind_children
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.fetch import FetchProgress
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.records import Dropped

GIVEN_UP = f"its replica died {GIVEN_UP_AFTER} times while it ran"
ReadBlock = Callable[[dict[str, Any], str], Awaitable[tuple[Job, list[Any]]]]
"""From a block, and the name of the replica that runs it, to its job and its records."""
WATCHDOG_INTERVAL_S = 1.0
"""Seconds between two looks at the engine."""


class Replica:
    """Runs programs on many rows at a time.

    `open_engine` makes an engine of a model, `read` gives a block's job and its records, `health` is the handle of the
    pool's `PoolHealth`, in which this replica has the `name` of its actor unless another is given.
    """

    def __init__(
        self,
        model: str,
        inference: Inference,
        seed: int,
        open_engine: OpenEngine,
        read: ReadBlock,
        health: Any,
        name: str | None = None,
    ):
        self._read = read
        self._health = health
        self._name = name or ray.get_runtime_context().get_actor_id()
        self._status = ray.get(health.register.remote(self._name))
        if self._status.stop_reason:
            raise RuntimeError(self._status.stop_reason)
        self._reaper = bind_children()
        self._alone = asyncio.Lock()
        self._limiter = TokenLimiter(inference.tokens_in_flight)
        self._metrics = Metrics(self._name)
        if self._status.restarted:
            self._metrics.restarted()
        self._engine = self._opened(partial(open_engine, model, inference, seed))
        health.engine_ready.remote()
        # Not `self._die`: a thread that knew this actor would keep it, and its engine, alive for ever.
        give_up = partial(_die, health, self._name)
        watchdog = EngineWatchdog(self._engine.stats, self._limiter, self._metrics, inference.hang_seconds, give_up)
        threading.Thread(target=watchdog.run, daemon=True).start()

    async def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        """Run and write the rows of `block`; returns its counts, the fields of a `BlockCounts`, and where its rows went."""
        job, records = await self._read(block, self._name)
        self._metrics.step = job.step
        ids = [record.id for record in records]
        apart = self._status.suspects | self._status.given_up
        # Waited for: a row that ends the process at once would else never be counted.
        await self._health.rows_started.remote(self._name, [i for i in ids if i not in apart])
        try:
            counts = await run_block(records, self._engine, job, self._limiter, self._run)
        except EngineDead as error:
            _die(self._health, self._name, f"the engine died: {error}")
        self._health.rows_finished.remote(self._name, ids)
        self._metrics.block(job.step, counts)
        return {"out": job.out, **asdict(counts)}

    async def _run(self, record: Any, model: LanguageModel, job: Job) -> Any:
        if record.id in self._status.given_up:
            return Dropped(record.id, job.step, GIVEN_UP)
        if record.id in self._status.suspects:
            async with self._alone:
                await self._health.rows_started.remote(self._name, [record.id])
                outcome = await run_row(record, model, job)
                self._health.rows_finished.remote(self._name, [record.id])  # no suspect in the death of the next one
                return outcome
        return await run_row(record, model, job)

    def _opened(self, open_engine: Callable[[FetchProgress], ReplicaEngine]) -> ReplicaEngine:
        try:
            return open_engine(self._fetched)
        except UserError as error:
            ray.get(self._health.stop.remote(str(error)))
            raise
        except Exception as error:
            _die(self._health, self._name, f"the engine did not start: {error}")

    def _fetched(self, here: int, total: int) -> None:
        self._health.fetch_progress.remote(self._name, here, total)

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()


class StagedReplica:
    """A replica whose engine has stages on several nodes: a `Replica` in the first bundle of a placement group.

    The actor of Ray Data's pool only hands blocks on: a pool gives all of its actors the same place. It ends with the
    replica, and Ray Data starts both again. Names of the pool's placement groups begin with `pool`.
    """

    def __init__(
        self,
        model: str,
        inference: Inference,
        seed: int,
        open_engine: OpenEngine,
        read: ReadBlock,
        health: Any,
        pool: str,
        blocks_at_a_time: int,
    ):
        name = ray.get_runtime_context().get_actor_id()
        group = stages(f"{pool}/{name}", inference)
        first = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
        actor = ray.remote(
            num_cpus=0,
            scheduling_strategy=first,
            max_concurrency=blocks_at_a_time,
            runtime_env={"env_vars": inference.env},
        )
        self._replica = actor(Replica).remote(model, inference, seed, open_engine, read, health, name)
        try:
            ray.get(self._replica.__ray_ready__.remote())
        except RayActorError as error:
            if error.actor_init_failed:  # as in a replica on one node: what no other process mends ends the pool
                raise
            os._exit(1)

    async def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        try:
            counts: dict[str, Any] = await self._replica.__call__.remote(block)
        except RayActorError:
            os._exit(1)
        return counts


def _die(health: Any, name: str, error: str) -> NoReturn:
    try:
        ray.get(health.replica_failed.remote(name, error), timeout=10)
    finally:
        os._exit(1)


class EngineWatchdog:
    """Looks after an engine: publishes its figures, and gives it up where it makes no step with work to do."""

    def __init__(
        self, stats: EngineStats, limiter: TokenLimiter, metrics: Metrics, hang_seconds: float, give_up: Callable[[str], None]
    ):
        self._stats = stats
        self._limiter = limiter
        self._metrics = metrics
        self._hang_seconds = hang_seconds
        self._give_up = give_up

    def run(self) -> None:
        """EngineWatchdog for as long as this process lives. In a thread of its own: an event loop may hang too."""
        self._stats.touch()  # an engine's start may take longer than any step
        try:
            while True:
                time.sleep(WATCHDOG_INTERVAL_S)
                self.check()
        except Exception as error:  # nobody looks after the engine any more
            self._give_up(f"the watchdog over the engine failed: {error}")

    def check(self) -> None:
        if not self._limiter.in_flight:
            self._stats.touch()
        if time.monotonic() - self._stats.last_step > self._hang_seconds:
            self._give_up(f"the engine made no step in {self._hang_seconds:g} s with requests under way")
        self._metrics.publish(self._stats)
