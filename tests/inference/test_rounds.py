"""The feed of a pool that is asked in rounds. The pool itself needs Ray: see tests/end_to_end."""

import asyncio

import pyarrow as pa

from selfreward_ray.inference.rounds import Feed


def test_a_block_is_given_out_as_soon_as_it_is_there_and_again_to_a_task_that_is_retried():
    async def scenario() -> list[list[int]]:
        feed = Feed()
        early = asyncio.create_task(feed.take(1))
        await feed.put([pa.table({"x": [0]})])
        await asyncio.sleep(0)
        assert not early.done()
        await feed.put([pa.table({"x": [1]}), pa.table({"x": [2]})])
        taken = [await early, await feed.take(1), await feed.take(0), await feed.take(2)]
        return [block["x"].to_pylist() for block in taken]

    assert asyncio.run(asyncio.wait_for(scenario(), timeout=5)) == [[1], [1], [0], [2]]
