"""A pool that runs in rounds: the rows of a round may depend on the results of the previous one.

The engines stay up between rounds. Ray Data sees one stream of numbered blocks. A replica that receives a number waits
until the driver provides rows for it.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data

from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.inference.block import BlockCounts, Job, OpenEngine
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.placement import blocks_at_a_time, pool_size
from selfreward_ray.inference.pool import Pool, open_pool
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.store.arrow import from_table, to_table

RoundBlock = tuple[Job, pa.Table]


class RoundQueue:
    """Actor that hands the blocks of a round to replicas. The driver puts a round when the previous one is done."""

    def __init__(self) -> None:
        self._pending: list[RoundBlock] = []
        self._assigned: dict[int, RoundBlock] = {}
        self._load: Counter[str] = Counter()
        """Number of the round's blocks that each replica has taken."""
        self._waiting: dict[int, tuple[str, asyncio.Event]] = {}

    async def put(self, blocks: list[RoundBlock]) -> None:
        self._pending = list(blocks)
        self._assigned.clear()
        self._load.clear()
        self._assign()

    async def take(self, number: int, replica: str) -> RoundBlock:
        """Wait for a block for `replica`. A repeated `number`, which is a retry, returns the same block again."""
        if number not in self._assigned:
            _, assigned = self._waiting.get(number, (replica, asyncio.Event()))
            self._waiting[number] = replica, assigned
            self._assign()
            await assigned.wait()
        return self._assigned[number]

    def _assign(self) -> None:
        """Assign blocks to waiting numbers, first to those of the replica with the fewest blocks."""
        while self._pending and self._waiting:
            number = min(self._waiting, key=lambda waiting: self._load[self._waiting[waiting][0]])
            replica, assigned = self._waiting.pop(number)
            self._load[replica] += 1
            self._assigned[number] = self._pending.pop(0)
            assigned.set()


def start_queue(replicas: int, in_flight: int) -> Any:
    """A `RoundQueue` that admits every replica with all the blocks that it may have.

    Each waiting `take` is a call under way, also those of replaced processes. By default Ray admits 1,000 to an actor,
    and the `put` that they wait for would wait too.
    """
    return on_driver_node(RoundQueue, max_concurrency=10 * (replicas * in_flight + 1))


class Rounds:
    """An open pool for rounds. Created by `open_rounds`."""

    def __init__(self, queue: Any, pool: Pool, blocks: Iterator[tuple[str, BlockCounts]], rows_per_block: int) -> None:
        self.summary = pool.summary
        self._queue = queue
        self._blocks = blocks
        self._rows_per_block = rows_per_block

    def ask(self, job: Job, records: list[Any]) -> Iterator[BlockCounts]:
        """Run `job` on the `records` of one round, and yield the counts of each finished block."""
        starts = range(0, len(records), self._rows_per_block)
        blocks = [(job, to_table(records[i : i + self._rows_per_block], job.record)) for i in starts]
        ray.get(self._queue.put.remote(blocks))
        for _ in blocks:
            _, counts = next(self._blocks)
            yield counts


@contextmanager
def open_rounds(
    model: str,
    inference: Inference,
    seed: int,
    *,
    round_rows: int,
    row_tokens: int,
    max_rounds: int,
    note: Callable[[str], None],
    open_engine: OpenEngine = Engine,
) -> Iterator[Rounds]:
    """A pool of `model` for at most `max_rounds` rounds of `round_rows` rows, each row of at least `row_tokens` tokens.

    The engines start with the first round. The other arguments are as in `open_pool`.

    A replica that is lost with its node needs another node. Unlike in `Pool.run`, it does not get the place of another
    replica: those always have numbers to wait with, so Ray Data ends none of them. Without a node the round ends with
    `PoolStopped` after `inference.stall_seconds`. Finished blocks are stored; the caller can ask for the rest again.
    """
    max_blocks = max_rounds * math.ceil(round_rows / inference.rows_per_block)
    numbers = ray.data.from_items([{"number": n} for n in range(max_blocks)], override_num_blocks=max_blocks)
    replicas, in_flight = pool_size(inference, round_rows * row_tokens), blocks_at_a_time(inference, row_tokens)
    with open_pool(model, inference, seed, note, open_engine) as pool:
        queue = start_queue(replicas, in_flight)
        blocks = pool.stream(numbers, replicas, in_flight, partial(_take_block, queue=queue))
        try:
            yield Rounds(queue, pool, blocks, inference.rows_per_block)
        finally:
            blocks.close()
            ray.kill(queue)


async def _take_block(block: dict[str, Any], replica: str, queue: Any) -> tuple[Job, list[Any]]:
    job, rows = await queue.take.remote(block["number"], replica)
    return job, from_table(rows, job.record)
