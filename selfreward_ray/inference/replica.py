"""A replica: an actor of the pool that owns one engine, and ends its process when the engine is lost.

Ray Data retries a block when the actor's process died, but an exception would end the whole dataset. So any failure
that a new process can fix ends this process. Ray starts another one, on this node or another, with the same blocks.
"""

import asyncio
import json
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

from selfreward_ray.credentials import masked
from selfreward_ray.errors import UserError, recurs
from selfreward_ray.inference.block import Job, ReplicaEngine, run_block, run_row
from selfreward_ray.inference.engine import EngineDead
from selfreward_ray.inference.health import GIVEN_UP
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.metrics import Metrics
from selfreward_ray.inference.placement import engine_nodes, stages
from selfreward_ray.inference.programs import LanguageModel
from selfreward_ray.inference.reaper import bind_children
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.fetch import FetchProgress
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.records import Dropped

ReadBlock = Callable[[dict[str, Any], str], Awaitable[tuple[Job, list[Any]]]]
"""Takes a block and the name of the replica that runs it; returns the block's job and records."""
WATCHDOG_INTERVAL_S = 1.0
"""Seconds between two checks of the engine."""


class Replica:
    """Runs programs on many rows concurrently.

    `open_engine` creates the engine, `read` returns a block's job and records, and `health` is the handle of the pool's
    `PoolHealth`. `name` is this replica's name there, by default the id of its actor.
    """

    def __init__(
        self,
        inference: Inference,
        open_engine: Callable[[FetchProgress], ReplicaEngine],
        read: ReadBlock,
        health: Any,
        name: str | None = None,
    ):
        self._read = read
        self._health = health
        self._name = name or ray.get_runtime_context().get_actor_id()
        self._status = ray.get(health.register.remote(self._name, engine_nodes()))
        if self._status.stop_reason:
            raise RuntimeError(self._status.stop_reason)
        self._reaper = bind_children()
        self._alone = asyncio.Lock()
        self._limiter = TokenLimiter(inference.tokens_in_flight)
        self._metrics = Metrics(self._name, self._status.restarted, self._status.node_lost)
        self._engine = self._opened(open_engine)
        health.engine_ready.remote()
        # Not a bound method: a thread that references this actor would keep it and its engine alive.
        on_failure = partial(_exit_process, health, self._name)
        watchdog = EngineWatchdog(self._engine.stats, self._limiter, self._metrics, inference.hang_seconds, on_failure)
        threading.Thread(target=watchdog.run, daemon=True).start()

    async def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        """Run and write the rows of `block`. Returns its number, the `out` of its job and its `BlockCounts` as JSON."""
        job, records = await self._read(block, self._name)
        self._metrics.begin(job.step)
        ids = [record.id for record in records]
        separate = self._status.suspects | self._status.given_up
        # Awaited, so that a row that ends the process at once is counted.
        await self._health.rows_started.remote(self._name, [i for i in ids if i not in separate])
        try:
            counts = await run_block(records, self._engine, job, self._limiter, self._run)
        except EngineDead as error:
            _exit_process(self._health, self._name, f"the engine died: {error}")
        self._health.rows_finished.remote(self._name, ids)
        self._metrics.block(job.step, counts)
        return {"number": block.get("number", -1), "out": job.out, "counts": json.dumps(asdict(counts))}

    async def _run(self, record: Any, model: LanguageModel[Any], job: Job) -> Any:
        if record.id in self._status.given_up:
            return Dropped(record.id, job.step, GIVEN_UP)
        if record.id in self._status.suspects:
            async with self._alone:
                await self._health.rows_started.remote(self._name, [record.id])
                outcome = await run_row(record, model, job)
                # Reported now, so that the death of the next suspect does not count for this one.
                self._health.rows_finished.remote(self._name, [record.id])
                return outcome
        return await run_row(record, model, job)

    def _opened(self, open_engine: Callable[[FetchProgress], ReplicaEngine]) -> ReplicaEngine:
        try:
            return open_engine(self._fetched)
        except Exception as error:
            said = f"the engine did not start: {error}"
            if recurs(error) and not getattr(error, "errno", None):  # a disk is this node's, another's may do
                ray.get(self._health.stop.remote(str(error) if isinstance(error, UserError) else masked(said)))
                raise
            _exit_process(self._health, self._name, said)

    def _fetched(self, here: int, total: int) -> None:
        self._health.fetch_progress.remote(self._name, here, total)

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()


class StagedReplica:
    """A replica with pipeline stages on several nodes: a `Replica` actor in the first bundle of a placement group.

    All actors of a Ray Data pool have the same scheduling strategy, so the pool's own actor only forwards blocks to the
    `Replica`. It ends when the `Replica` ends, and Ray Data restarts both. `pool` is the prefix of the names of the
    pool's placement groups.
    """

    def __init__(
        self,
        inference: Inference,
        open_engine: Callable[[FetchProgress], ReplicaEngine],
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
        self._replica = actor(Replica).remote(inference, open_engine, read, health, name)
        try:
            ray.get(self._replica.__ray_ready__.remote())
        except RayActorError as error:
            if error.actor_init_failed:  # an error that no restart can fix ends the pool, as on one node
                raise
            os._exit(1)

    async def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        try:
            counts: dict[str, Any] = await self._replica.__call__.remote(block)
        except RayActorError:
            os._exit(1)
        return counts


def _exit_process(health: Any, name: str, error: str) -> NoReturn:
    try:
        ray.get(health.replica_failed.remote(name, masked(error)), timeout=10)
    finally:
        os._exit(1)


class EngineWatchdog:
    """Publishes an engine's statistics, and reports the engine as hung when it makes no step although requests run."""

    def __init__(
        self,
        stats: EngineStats,
        limiter: TokenLimiter,
        metrics: Metrics,
        hang_seconds: float,
        on_failure: Callable[[str], None],
    ):
        self._stats = stats
        self._limiter = limiter
        self._metrics = metrics
        self._hang_seconds = hang_seconds
        self._on_failure = on_failure

    def run(self) -> None:
        """Check the engine until this process ends. Runs in its own thread, because the event loop may hang too."""
        self._stats.touch()  # the time of the engine's start does not count
        try:
            while True:
                time.sleep(WATCHDOG_INTERVAL_S)
                self.check()
        except Exception as error:  # the engine would go unwatched
            self._on_failure(f"the engine's watchdog failed: {error}")

    def check(self) -> None:
        if not self._limiter.in_flight:
            self._stats.touch()
        if time.monotonic() - self._stats.last_step > self._hang_seconds:
            self._on_failure(f"the engine made no step in {self._hang_seconds:g} s with running requests")
        self._metrics.publish(self._stats)
