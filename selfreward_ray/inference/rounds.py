"""A pool that runs in rounds: the rows of a round may depend on the results of the previous one.

The engines stay up between rounds. Ray Data sees one stream of numbered blocks. A replica that receives a number waits
until the driver provides rows for it.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data

from selfreward_ray.cluster.nodes import dead_nodes
from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.inference.block import BlockCounts, Job, OpenEngine
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.placement import blocks_at_a_time, engine_nodes, pool_size
from selfreward_ray.inference.pool import FinishedBlock, Pool, open_pool
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.store.arrow import from_table, to_table

RoundBlock = tuple[Job, pa.Table]
LOOK_EVERY_S = 5.0
"""Seconds between two looks at the nodes of replicas that have blocks."""


class _Holder(NamedTuple):
    """A process of a replica that waits with a number, or has a block for it."""

    replica: str
    nodes: frozenset[str]
    """On which it runs."""
    assigned: asyncio.Event


class RoundQueue:
    """Actor that hands the blocks of a round to replicas. The driver puts a round when the previous one is done.

    Blocks of a replica whose node is lost are handed to others at once: without another node it may never come back.
    """

    def __init__(self, dead_nodes: Callable[[], Collection[str]] = frozenset) -> None:
        self._dead_nodes = dead_nodes
        self._dead: Collection[str] = frozenset()
        self._pending: list[RoundBlock] = []
        self._assigned: dict[int, RoundBlock] = {}
        """Blocks that are not done, by the numbers of those that have them."""
        self._holders: dict[int, _Holder] = {}
        self._load: Counter[str] = Counter()
        """Number of the round's blocks that each replica has taken."""
        self._waiting: dict[int, _Holder] = {}
        self._looking: asyncio.Task[None] | None = None

    async def put(self, blocks: list[RoundBlock]) -> None:
        self._pending = list(blocks)
        self._load.clear()
        self._assign()
        if self._looking is None or self._looking.done():  # it may have met an error
            self._looking = asyncio.create_task(self._look())

    async def take(self, number: int, replica: str, nodes: Collection[str] = ()) -> RoundBlock:
        """Wait for a block for a process of `replica` on `nodes`. A repeated `number`, which is a retry, returns the
        same block again, unless another replica has it by now."""
        if number in self._assigned:
            self._holders[number] = self._holders[number]._replace(nodes=frozenset(nodes))
        while number not in self._assigned:
            before = self._waiting.get(number)
            holder = _Holder(replica, frozenset(nodes), before.assigned if before else asyncio.Event())
            self._waiting[number] = holder
            self._assign()
            await holder.assigned.wait()
        return self._assigned[number]

    async def done(self, number: int) -> bool:
        """The block of `number` is finished. False if it was handed to another replica meanwhile: that one counts."""
        self._holders.pop(number, None)
        return self._assigned.pop(number, None) is not None

    def move(self, dead: Collection[str]) -> None:
        """Hand the blocks of replicas on `dead` nodes to others, now or as soon as another one waits."""
        self._dead = dead
        for number in [n for n, holder in self._holders.items() if not holder.nodes.isdisjoint(dead)]:
            del self._holders[number]
            self._pending.append(self._assigned.pop(number))
        self._assign()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._pending or self._assigned:
                self.move(await asyncio.to_thread(self._dead_nodes))

    def _assign(self) -> None:
        """Assign blocks to waiting numbers, first to those of the replica with the fewest blocks."""
        while self._pending and (alive := self._alive()):
            number = min(alive, key=lambda waiting: self._load[self._waiting[waiting].replica])
            self._holders[number] = self._waiting.pop(number)
            self._load[self._holders[number].replica] += 1
            self._assigned[number] = self._pending.pop(0)
            self._holders[number].assigned.set()

    def _alive(self) -> list[int]:
        """Numbers that wait at replicas whose node is not known to be lost."""
        return [number for number, holder in self._waiting.items() if holder.nodes.isdisjoint(self._dead)]


def start_queue(replicas: int, in_flight: int) -> Any:
    """A `RoundQueue` that admits every replica with all the blocks that it may have.

    Each waiting `take` is a call under way, also those of replaced processes. By default Ray admits 1,000 to an actor,
    and the `put` that they wait for would wait too.
    """
    return on_driver_node(RoundQueue, dead_nodes, max_concurrency=10 * (replicas * in_flight + 1))


class Rounds:
    """An open pool for rounds. Created by `open_rounds`."""

    def __init__(self, queue: Any, pool: Pool, blocks: Iterator[FinishedBlock], rows_per_block: int) -> None:
        self.summary = pool.summary
        self._queue = queue
        self._blocks = blocks
        self._rows_per_block = rows_per_block

    def ask(self, job: Job, records: list[Any]) -> Iterator[BlockCounts]:
        """Run `job` on the `records` of one round, and yield the counts of each finished block."""
        starts = range(0, len(records), self._rows_per_block)
        blocks = [(job, to_table(records[i : i + self._rows_per_block], job.record)) for i in starts]
        ray.get(self._queue.put.remote(blocks))
        left = len(blocks)
        while left:
            finished = next(self._blocks)
            if ray.get(self._queue.done.remote(finished.number)):
                left -= 1
                yield finished.counts


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
    replica: those always have numbers to wait with, so Ray Data ends none of them. They do its blocks.
    """
    replicas, in_flight = pool_size(inference, round_rows * row_tokens), blocks_at_a_time(inference, row_tokens)
    # Numbers of a replica that never comes back are not used, and its blocks take others.
    spare = replicas * in_flight
    max_blocks = max_rounds * math.ceil(round_rows / inference.rows_per_block) + spare
    numbers = ray.data.from_items([{"number": n} for n in range(max_blocks)], override_num_blocks=max_blocks)
    with open_pool(model, inference, seed, note, open_engine) as pool:
        queue = start_queue(replicas, in_flight)
        blocks = pool.stream(numbers, replicas, in_flight, partial(_take_block, queue=queue))
        try:
            yield Rounds(queue, pool, blocks, inference.rows_per_block)
        finally:
            blocks.close()
            ray.kill(queue)


async def _take_block(block: dict[str, Any], replica: str, queue: Any) -> tuple[Job, list[Any]]:
    job, rows = await queue.take.remote(block["number"], replica, engine_nodes())
    return job, from_table(rows, job.record)
