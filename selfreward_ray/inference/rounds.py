"""A pool that is asked in rounds: what the next round asks may depend on what the last one answered.

The engines stay up between rounds. To Ray Data it is one stream of numbered blocks; a replica that is given a number
waits until the driver has handed in rows for it.
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
    """Actor: the blocks of the round that the driver handed in last, which it does when the one before is done."""

    def __init__(self) -> None:
        self._open: list[RoundBlock] = []
        self._given: dict[int, RoundBlock] = {}
        self._held: Counter[str] = Counter()
        """Blocks of the round by the replica that took them."""
        self._waiting: dict[int, tuple[str, asyncio.Event]] = {}

    async def put(self, blocks: list[RoundBlock]) -> None:
        self._open = list(blocks)
        self._given.clear()
        self._held.clear()
        self._hand_out()

    async def take(self, number: int, replica: str) -> RoundBlock:
        """A block of `replica`'s, as soon as there is one; the same one again for a `number` that comes again."""
        if number not in self._given:
            _, handed = self._waiting.get(number, (replica, asyncio.Event()))
            self._waiting[number] = replica, handed
            self._hand_out()
            await handed.wait()
        return self._given[number]

    def _hand_out(self) -> None:
        """Of those that wait, first to the replica that has the fewest blocks: each waits with several numbers."""
        while self._open and self._waiting:
            number = min(self._waiting, key=lambda waiting: self._held[self._waiting[waiting][0]])
            replica, handed = self._waiting.pop(number)
            self._held[replica] += 1
            self._given[number] = self._open.pop(0)
            handed.set()


class Rounds:
    """What `open_rounds` gives: `ask` runs the rows of one round and yields the counts of its blocks."""

    def __init__(self, queue: Any, pool: Pool, blocks: Iterator[tuple[str, BlockCounts]], rows_per_block: int) -> None:
        self.summary = pool.summary
        self._queue = queue
        self._blocks = blocks
        self._rows_per_block = rows_per_block

    def ask(self, job: Job, records: list[Any]) -> Iterator[BlockCounts]:
        """Run `job` on `records`; it is done when the iterator ends."""
        cuts = range(0, len(records), self._rows_per_block)
        cut = [(job, to_table(records[i : i + self._rows_per_block], job.record)) for i in cuts]
        ray.get(self._queue.put.remote(cut))
        for _ in cut:
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
    """A pool of `model` for at most `max_rounds` rounds of `round_rows` rows, each of at least `row_tokens` tokens.

    Engines start with the first round. The other arguments are those of `open_pool`.
    """
    max_blocks = max_rounds * math.ceil(round_rows / inference.rows_per_block)
    numbers = ray.data.from_items([{"number": n} for n in range(max_blocks)], override_num_blocks=max_blocks)
    replicas, in_flight = pool_size(inference, round_rows * row_tokens), blocks_at_a_time(inference, row_tokens)
    with open_pool(model, inference, seed, note, open_engine) as pool:
        queue = on_driver_node(RoundQueue)
        blocks = pool.stream(numbers, replicas, in_flight, partial(_taken, queue=queue))
        try:
            yield Rounds(queue, pool, blocks, inference.rows_per_block)
        finally:
            blocks.close()
            ray.kill(queue)


async def _taken(block: dict[str, Any], replica: str, queue: Any) -> tuple[Job, list[Any]]:
    job, rows = await queue.take.remote(block["number"], replica)
    return job, from_table(rows, job.record)
