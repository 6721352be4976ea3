"""The queue of a pool that is asked in rounds, without Ray."""

import asyncio

import pyarrow as pa

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.rounds import RoundBlock, RoundQueue
from selfreward_ray.records import Prompt

JOB = Job("propose", lambda row, model: row, Prompt, Prompt, "out", 1)


def blocks(*names: str) -> list[RoundBlock]:
    return [(JOB, pa.table({"name": [name]})) for name in names]


def name(block: RoundBlock) -> str:
    return str(block[1]["name"][0].as_py())


def test_a_block_is_waited_for_and_given_again_to_the_same_number():
    async def go() -> None:
        queue = RoundQueue()
        waiting = asyncio.create_task(queue.take(7, "a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await queue.put(blocks("first", "second"))
        assert name(await waiting) == "first"
        assert name(await queue.take(3, "a")) == "second"
        assert name(await queue.take(7, "b")) == "first"  # its replica died: another one has the number now

    asyncio.run(go())


def test_a_number_whose_replica_died_while_it_waited_gets_one_block():
    async def go() -> None:
        queue = RoundQueue()
        dead = asyncio.create_task(queue.take(0, "a"))
        again = asyncio.create_task(queue.take(0, "b"))
        other = asyncio.create_task(queue.take(1, "b"))
        await asyncio.sleep(0)
        await queue.put(blocks("first", "second"))
        assert name(await again) == name(await dead)
        assert {name(await again), name(await other)} == {"first", "second"}

    asyncio.run(go())


def test_replicas_share_a_round_however_many_numbers_each_waits_with():
    async def go() -> None:
        queue = RoundQueue()
        waiting = [("a", asyncio.create_task(queue.take(n, "a"))) for n in range(5)]
        waiting += [("b", asyncio.create_task(queue.take(n, "b"))) for n in range(5, 8)]
        await asyncio.sleep(0)
        await queue.put(blocks("1", "2", "3", "4"))
        await asyncio.sleep(0)
        done = [replica for replica, task in waiting if task.done()]
        assert sorted(done) == ["a", "a", "b", "b"]
        for _, task in waiting:
            task.cancel()

    asyncio.run(go())


def test_a_second_round_goes_on_with_those_that_wait():
    async def go() -> None:
        queue = RoundQueue()
        await queue.put(blocks("first"))
        assert name(await queue.take(0, "a")) == "first"
        waiting = asyncio.create_task(queue.take(1, "a"))
        await asyncio.sleep(0)
        await queue.put(blocks("second"))
        assert name(await waiting) == "second"

    asyncio.run(go())
