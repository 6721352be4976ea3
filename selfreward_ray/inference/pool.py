"""The pool: Ray Data streams rows through an actor pool of vLLM replicas that run a program on each."""

import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayActorError

from selfreward_ray.cluster.asks import replica_ask
from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.cluster.room import Ask, check_room
from selfreward_ray.cluster.waiting import outlook
from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import BlockCounts, Job, OpenEngine
from selfreward_ray.inference.partition import rows_in, partition_table, read_block
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.health import PoolHealth
from selfreward_ray.inference.placement import actor_resources, blocks_at_a_time, pool_size, release_stages
from selfreward_ray.inference.replica import ReadBlock, Replica, StagedReplica
from selfreward_ray.inference.stall import StallGuard, told
from selfreward_ray.models.local import portable
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.store.folder import Folder


class PoolStopped(UserError):
    """A pool that can not go on; the message has the engine's own error."""


class Workload(NamedTuple):
    """A job, the table of its rows, and the ids of those that are finished."""

    job: Job
    rows: Folder
    finished: Collection[str]


class Pool:
    """Replicas of one model. Made by `open_pool`."""

    def __init__(
        self,
        model: str,
        inference: Inference,
        seed: int,
        open_engine: OpenEngine,
        health: Any,
        note: Callable[[str], None],
    ):
        self._note = note
        self._model = portable(model, adapters=True)
        self._inference = inference
        self._seed = seed
        self._open_engine = open_engine
        self._health = health
        self._id = uuid.uuid4().hex

    def run(self, workloads: Sequence[Workload]) -> Generator[tuple[str, BlockCounts], None, None]:
        """Stream the rows of `workloads` through the pool, one work's after the other's; yields each block's counts and
        its job's `out`.

        The engines go on from one work to the next without a pause. The blocks of a replica whose node is gone wait for
        that replica to start again, in the place of another one at the latest: Ray Data ends those for which it has no
        blocks left.

        Raises `PoolStopped` where the replicas can not go on.
        """
        blocks, tokens = [], 0
        for number, work in enumerate(workloads):
            cut = partition_table(work.rows, work.finished, self._inference.rows_per_block)
            blocks += [block | {"work": number} for block in cut]
            tokens += rows_in(cut) * work.job.row_tokens
        if blocks:
            dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks))
            in_flight = max(blocks_at_a_time(self._inference, work.job.row_tokens) for work in workloads)
            # Without `finished`, which may be large: replicas have no use for it.
            tables = [(work.job, work.rows) for work in workloads]
            yield from self.stream(
                dataset, pool_size(self._inference, tokens), in_flight, partial(_read, tables=tables)
            )

    def stream(
        self, dataset: ray.data.Dataset, replicas: int, in_flight: int, read: ReadBlock
    ) -> Generator[tuple[str, BlockCounts], None, None]:
        """Run every row of `dataset`, a block whose job and records `read` gives, on `replicas` replicas, each of which
        is given at most `in_flight` blocks; yields as `run` does when the block is written."""
        ask = replace(replica_ask(self._inference), count=replicas)
        with self._released(), self._explained(ask), told(self._health, ask, self._note) as came:
            counts = self._counts(dataset, replicas, in_flight, read)
            # Without prefetching: it would hold back a finished block until the next one is finished too, and a pool
            # that is asked in rounds has no next one yet.
            for batch in counts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                came()
                for row in batch.to_pylist():
                    yield row.pop("out"), BlockCounts(**row)

    def summary(self) -> dict[str, int]:
        """Restarts and retries since it was last asked, for a step's manifest."""
        counts: dict[str, int] = ray.get(self._health.summary.remote())
        return counts

    def _counts(self, blocks: ray.data.Dataset, replicas: int, in_flight: int, read: ReadBlock) -> ray.data.Dataset:
        inference = self._inference
        blocks.context.execution_no_progress_timeout_s = -1  # the guard's decision: a fetch is progress too
        guard: Any = partial(StallGuard, self._health, inference.stall_seconds)
        blocks.context.custom_execution_callback_classes = [guard]
        arguments = {
            "model": self._model, "inference": inference, "seed": self._seed, "open_engine": self._open_engine,
            "read": read, "health": self._health,
        }  # fmt: skip
        actor: type = Replica
        resources = actor_resources(inference)
        if inference.nodes_per_replica > 1:
            actor, resources = StagedReplica, {"num_cpus": 0}
            arguments |= {"pool": self._id, "blocks_at_a_time": in_flight}
        # Of a fixed size: Ray Data lets a pool grow within what the cluster has, not what it can have. A replica that
        # waits for a place keeps nothing waiting, and makes Ray start a node for it where that is possible.
        return blocks.map(
            actor,
            fn_constructor_kwargs=arguments,
            compute=ray.data.ActorPoolStrategy(
                size=replicas,
                max_tasks_in_flight_per_actor=in_flight,
                max_concurrent_calls_per_actor=in_flight,
            ),
            runtime_env={"env_vars": inference.env},
            **resources,
        )

    @contextmanager
    def _released(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._inference.nodes_per_replica > 1:
                release_stages(self._id)

    @contextmanager
    def _explained(self, ask: Ask) -> Iterator[None]:
        """What ended the dataset, in the words of the replica that ended it, or of what its replicas waited for."""
        began = int(time.time())
        try:
            yield
        except (RayActorError, ExecutionTimeoutError) as error:
            ended, last, came_up = ray.get(self._health.failure.remote())
            if ended:
                raise PoolStopped(ended) from None
            if isinstance(error, RayActorError):
                raise
            raise PoolStopped(
                f"nothing moved for {self._inference.stall_seconds:g} s (inference.stall_seconds): "
                + ("no block was finished" if came_up else "no engine came up")
                + f"; {last or 'a replica waits for a place, or a block or an engine takes longer'}. "
                + f"Replicas: {outlook(ask, began)}"
            ) from None


async def _read(block: dict[str, Any], _replica: str, tables: list[tuple[Job, Folder]]) -> tuple[Job, list[Any]]:
    job, rows = tables[block["work"]]
    return job, await read_block(block, rows, job.record)


@contextmanager
def open_pool(
    model: str,
    inference: Inference,
    seed: int,
    note: Callable[[str], None] = lambda _text: None,
    open_engine: OpenEngine = Engine,
) -> Iterator[Pool]:
    """A pool whose engines start with the first rows, and sample by `seed`.

    `note` is told what the replicas are doing until the first block is finished. Raises `UserError` when the cluster
    can never hold a replica.
    """
    check_room(replica_ask(inference))
    health = on_driver_node(PoolHealth, inference.max_restarts)
    try:
        yield Pool(model, inference, seed, open_engine, health, note)
    finally:
        ray.kill(health)
