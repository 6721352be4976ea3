"""A pool that is asked in rounds: what the next round asks may depend on what the last one answered.

The engines stay up between rounds. To Ray Data it is one stream of numbered blocks, whose tasks wait until the
driver has handed in the rows of their number.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data

from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.inference.block import Block, Job
from selfreward_ray.inference.pool import Pool, open_pool
from selfreward_ray.recipe import Inference
from selfreward_ray.tables import from_rows, to_table


class Feed:
    """Actor: the blocks of the round that the driver handed in last, which it does when the one before is done."""

    def __init__(self) -> None:
        self._blocks: dict[int, pa.Table] = {}
        self._count = 0
        self._places: dict[int, int] = {}
        self._handed_in = asyncio.Condition()

    async def put(self, blocks: list[pa.Table]) -> None:
        async with self._handed_in:
            self._blocks = dict(enumerate(blocks, start=self._count))
            self._count += len(blocks)
            self._handed_in.notify_all()

    async def take(self, number: int) -> pa.Table:
        """The next block, as soon as it is there; the same one again for a `number` that comes again.

        Tasks come in any order, so the first to ask has the first block; one that is retried has the same number.
        """
        place = self._places.setdefault(number, len(self._places))
        async with self._handed_in:
            await self._handed_in.wait_for(lambda: place < self._count)
            return self._blocks[place]


class Rounds:
    """What `open_rounds` gives: `ask` runs the rows of one round and yields the counts of its blocks."""

    def __init__(self, feed: Any, pool: Pool, blocks: Iterator[Block], job: Job, rows_per_block: int) -> None:
        self.summary = pool.summary
        self._feed = feed
        self._blocks = blocks
        self._job = job
        self._rows_per_block = rows_per_block

    def ask(self, records: list[Any]) -> Iterator[Block]:
        """Run the job on `records`; it is done when the iterator ends."""
        cuts = range(0, len(records), self._rows_per_block)
        cut = [to_table(records[i : i + self._rows_per_block], self._job.record) for i in cuts]
        ray.get(self._feed.put.remote(cut))
        for _ in cut:
            yield next(self._blocks)


@contextmanager
def open_rounds(
    model: str, inference: Inference, job: Job, round_rows: int, max_rounds: int, note: Callable[[str], None]
) -> Iterator[Rounds]:
    """A pool of `model` for at most `max_rounds` rounds of `round_rows` rows. Engines start with the first round.

    `note` is as in `open_pool`.
    """
    max_blocks = max_rounds * math.ceil(round_rows / inference.rows_per_block)
    feed = on_driver_node(Feed)
    numbers = ray.data.range(max_blocks, override_num_blocks=max_blocks)
    rows = numbers.map_batches(
        _Take(feed),
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=0,  # it only waits, and replicas may have taken all
        compute=ray.data.TaskPoolStrategy(size=1),  # each waiting task keeps a process
    )
    with open_pool(model, inference, job, note) as pool:
        blocks = pool.stream(rows, round_rows, partial(_records, record=job.record))
        try:
            yield Rounds(feed, pool, blocks, job, inference.rows_per_block)
        finally:
            blocks.close()
            ray.kill(feed)


class _Take:
    def __init__(self, feed: Any) -> None:
        self._feed = feed

    def __call__(self, batch: pa.Table) -> pa.Table:
        (number,) = batch["id"].to_pylist()
        rows = ray.get(self._feed.take.remote(number)).to_struct_array()
        rows = rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows
        return pa.table({"rows": pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)})


def _records(block: dict[str, Any], record: type[Any]) -> list[Any]:
    return from_rows(block["rows"], record)
