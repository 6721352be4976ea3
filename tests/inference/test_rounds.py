"""The feed of a pool that is asked in rounds. The pool itself needs Ray: see tests/end_to_end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pyarrow as pa

from selfreward_ray.inference.rounds import Feed


def block(number: int) -> pa.Table:
    return pa.table({"x": [number]})


def played(scenario: Coroutine[Any, Any, list[pa.Table]]) -> list[int]:
    return [taken["x"][0].as_py() for taken in asyncio.run(asyncio.wait_for(scenario, timeout=5))]


def test_a_task_waits_for_its_block():
    async def scenario() -> list[pa.Table]:
        feed = Feed()
        waiting = [asyncio.create_task(feed.take(number)) for number in (0, 1)]
        await feed.put([block(10)])
        first = await waiting[0]
        assert not waiting[1].done()
        await feed.put([block(11)])
        return [first, await waiting[1]]

    assert played(scenario()) == [10, 11]


def test_tasks_may_come_in_any_order_and_again():
    """One task at a time, as in the pool: number 7 first must not wait for a later round."""

    async def scenario() -> list[pa.Table]:
        feed = Feed()
        await feed.put([block(10), block(11)])
        return [await feed.take(7), await feed.take(2), await feed.take(7)]

    assert played(scenario()) == [10, 11, 10]
