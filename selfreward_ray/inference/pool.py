"""The pool: Ray Data streams rows through an actor pool of vLLM replicas that run a program on each."""

import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayActorError

from selfreward_ray.cluster.asks import replica_ask
from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.cluster.room import Ask, check_room
from selfreward_ray.cluster.waiting import outlook
from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Block, Job
from selfreward_ray.inference.cut import count_cut, cut_table, read_block
from selfreward_ray.inference.ledger import Ledger
from selfreward_ray.inference.placement import actor_resources, blocks_at_a_time, pool_size, release_stages
from selfreward_ray.inference.replica import Read, Replica, StagedReplica
from selfreward_ray.inference.stall import StallGuard, told
from selfreward_ray.models.local import portable
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.store.folder import Folder


class PoolStopped(UserError):
    """A pool that can not go on; the message has the engine's own error."""


class Pool:
    """Replicas of one model, for one job. Made by `open_pool`."""

    def __init__(self, model: str, inference: Inference, job: Job, ledger: Any, note: Callable[[str], None]):
        self._note = note
        self._model = portable(model, adapters=True)
        self._inference = inference
        self._job = job
        self._ledger = ledger
        self._id = uuid.uuid4().hex

    def run(self, rows: Folder, finished: set[str]) -> Generator[Block, None, None]:
        """Stream the table `rows` through the pool, leaving out ids already `finished`; yields each block's counts.

        The blocks of a replica whose node is gone wait for that replica to start again, in the place of another one at
        the latest: Ray Data ends those for which it has no blocks left.

        Raises `PoolStopped` where the replicas can not go on.
        """
        blocks = cut_table(rows, finished, self._inference.rows_per_block)
        if blocks:
            dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks))
            read = partial(read_block, table=rows, record=self._job.record)
            yield from self.stream(dataset, count_cut(blocks), read)

    def stream(self, dataset: ray.data.Dataset, rows: int, read: Read) -> Generator[Block, None, None]:
        """Run the job on every row of `dataset`, a block whose records `read` gives, and yield each block's counts when
        it is written.

        `rows` is how many records are there at a time: the pool has as many replicas as they keep busy.
        """
        # Without prefetching: it would hold back a finished block until the next one is finished too, and a pool that
        # is asked in rounds has no next one yet.
        replicas = pool_size(self._inference, rows, self._job.row_tokens)
        ask = replace(replica_ask(self._inference), count=replicas)
        with self._released(), self._explained(ask), told(self._ledger, ask, self._note) as came:
            counts = self._counts(dataset, replicas, read)
            for batch in counts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                came()
                for row in batch.to_pylist():
                    yield Block(**row)

    def summary(self) -> dict[str, int]:
        """Restarts and retries, for the step's manifest."""
        counts: dict[str, int] = ray.get(self._ledger.summary.remote())
        return counts

    def _counts(self, blocks: ray.data.Dataset, replicas: int, read: Read) -> ray.data.Dataset:
        inference = self._inference
        in_flight = blocks_at_a_time(inference, self._job.row_tokens)
        blocks.context.execution_no_progress_timeout_s = -1  # the guard's decision: a fetch is progress too
        guard: Any = partial(StallGuard, self._ledger, inference.stall_seconds)
        blocks.context.custom_execution_callback_classes = [guard]
        arguments = {
            "model": self._model, "inference": inference, "job": self._job, "read": read, "ledger": self._ledger,
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
            ended, last, came_up = ray.get(self._ledger.why.remote())
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


@contextmanager
def open_pool(
    model: str, inference: Inference, job: Job, note: Callable[[str], None] = lambda _text: None
) -> Iterator[Pool]:
    """A pool whose engines start with the first rows. Raises `UserError` when the cluster can never hold one.

    `note` is told what the replicas are doing until the first block is finished.
    """
    check_room(replica_ask(inference))
    ledger = on_driver_node(Ledger, inference.max_restarts)
    try:
        yield Pool(model, inference, job, ledger, note)
    finally:
        ray.kill(ledger)
