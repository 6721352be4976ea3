"""The pool: Ray Data streams rows through an actor pool of vLLM replicas that run a program on each."""

import json
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayActorError

from selfreward_ray.cluster.capacity import ResourceRequest, check_capacity
from selfreward_ray.cluster.nodes import lost_nodes
from selfreward_ray.cluster.placement import LASTING, on_driver_node
from selfreward_ray.cluster.requests import replica_request
from selfreward_ray.cluster.waiting import outlook
from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import BlockCounts, Job, OpenEngine
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.health import PoolHealth
from selfreward_ray.inference.partition import partition_table, read_block, rows_in
from selfreward_ray.inference.placement import actor_resources, blocks_at_a_time, pool_size, release_stages
from selfreward_ray.inference.replica import ReadBlock, Replica, StagedReplica
from selfreward_ray.inference.stall import StallGuard, reporting_activity
from selfreward_ray.models.local import portable
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.store.folder import Folder


class PoolStopped(UserError):
    """The pool cannot continue; the message contains the engine's error."""


class Workload(NamedTuple):
    """A job, the table of its rows, and the ids of rows that are already finished."""

    job: Job
    rows: Folder
    finished: Collection[str]


class FinishedBlock(NamedTuple):
    """A block that a replica has written."""

    number: int
    """Its own, in a pool that runs in rounds; else -1."""
    out: str
    counts: BlockCounts


class Pool:
    """Replicas of one model. Created by `open_pool`."""

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
        self._inference = inference
        self._open_engine = partial(open_engine, portable(model, adapters=True), inference, seed)
        self._health = health
        self._id = uuid.uuid4().hex

    def run(self, workloads: Sequence[Workload]) -> Generator[tuple[str, BlockCounts], None, None]:
        """Stream the rows of `workloads` through the pool, in this order. Yields each finished block's counts with the
        `out` of its job.

        The engines continue from one workload to the next without a pause. If a node is lost, the blocks of its replica
        wait until that replica restarts. It can restart at the latest when another replica has no blocks left, because
        Ray Data then ends that one and frees its resources.

        Raises `PoolStopped` when the replicas cannot continue.
        """
        blocks: list[dict[str, Any]] = []
        tokens: list[int] = []  # of each workload
        for number, workload in enumerate(workloads):
            specs = partition_table(workload.rows, workload.finished, self._inference.rows_per_block)
            blocks += [spec | {"workload": number} for spec in specs]
            tokens.append(rows_in(specs) * workload.job.row_tokens)
        if blocks:
            dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks))
            # As many as suit the largest workload: more would wait at one replica while another one starts.
            largest = workloads[tokens.index(max(tokens))]
            in_flight = blocks_at_a_time(self._inference, largest.job.row_tokens)
            replicas = pool_size(self._inference, sum(tokens))
            # Without `finished`, which may be large and is not used by replicas.
            tables = [(workload.job, workload.rows) for workload in workloads]
            with closing(self.stream(dataset, replicas, in_flight, partial(_read, tables=tables))) as stream:
                for finished in stream:
                    yield finished.out, finished.counts

    def stream(
        self, dataset: ray.data.Dataset, replicas: int, in_flight: int, read: ReadBlock
    ) -> Generator[FinishedBlock, None, None]:
        """Run `dataset`, in which a row is a block, on `replicas` replicas with at most `in_flight` blocks each.

        `read` returns the job and the records of a block. Raises as `run` does.
        """
        request = replace(replica_request(self._inference), count=replicas)
        with (
            self._released(),
            self._explained(request),
            reporting_activity(self._health, request, self._note) as first_block_done,
        ):
            counts = self._counts(dataset, replicas, in_flight, read)
            # Without prefetching, which would hold back a finished block until the next one is finished. A pool that
            # is asked in rounds may have no next block yet.
            for batch in counts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                first_block_done()
                for row in batch.to_pylist():
                    yield FinishedBlock(row["number"], row["out"], BlockCounts(**json.loads(row["counts"])))

    def summary(self) -> dict[str, float]:
        """Restarts, retries and the engines' start since the previous call, for a step's manifest."""
        counts: dict[str, float] = ray.get(self._health.summary.remote())
        return counts

    def _counts(self, blocks: ray.data.Dataset, replicas: int, in_flight: int, read: ReadBlock) -> ray.data.Dataset:
        inference = self._inference
        blocks.context.execution_no_progress_timeout_s = -1  # `StallGuard` decides, to which a fetch is progress too
        guard: Any = partial(StallGuard, self._health, inference.stall_seconds)
        blocks.context.custom_execution_callback_classes = [guard]
        arguments = {
            "inference": inference, "open_engine": self._open_engine, "read": read, "health": self._health,
        }  # fmt: skip
        actor: type = Replica
        resources = actor_resources(inference)
        if inference.nodes_per_replica > 1:
            actor, resources = StagedReplica, {"num_cpus": 0}
            arguments |= {"pool": self._id, "blocks_at_a_time": in_flight}
        # The pool has a fixed size, because Ray Data scales a pool within the cluster's current resources, not within
        # those that the autoscaler can add. A replica that waits for resources blocks no other replica, and makes the
        # autoscaler start a node for it.
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
    def _explained(self, request: ResourceRequest) -> Iterator[None]:
        """Turn an error of the dataset into one that gives the replica's error, or what the replicas waited for."""
        started = int(time.time())
        try:
            yield
        except (RayActorError, ExecutionTimeoutError) as error:
            reason, last, engine_started = ray.get(self._health.failure.remote())
            if reason:
                raise PoolStopped(reason) from None
            if isinstance(error, RayActorError):
                raise
            raise PoolStopped(
                f"no progress for {self._inference.stall_seconds:g} s (inference.stall_seconds): "
                + ("no block was finished" if engine_started else "no engine started")
                + f"; {last or 'a replica waits for resources, or a block or an engine start takes longer'}. "
                + f"Replicas: {outlook(request, started)}"
            ) from None


async def _read(block: dict[str, Any], _replica: str, tables: list[tuple[Job, Folder]]) -> tuple[Job, list[Any]]:
    job, rows = tables[block["workload"]]
    return job, await read_block(block, rows, job.record)


@contextmanager
def open_pool(
    model: str,
    inference: Inference,
    seed: int,
    note: Callable[[str], None] = lambda _text: None,
    open_engine: OpenEngine = Engine,
) -> Iterator[Pool]:
    """A pool whose engines start with the first rows and sample with `seed`.

    `note` receives what the replicas are doing until the first block is finished. Raises `UserError` when the cluster
    can never hold a replica.
    """
    check_capacity(replica_request(inference))
    health = on_driver_node(PoolHealth, inference.max_restarts, lost_nodes, **LASTING)
    try:
        yield Pool(model, inference, seed, open_engine, health, note)
    finally:
        ray.kill(health)
