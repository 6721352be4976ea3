"""The queue of a pool that runs in rounds, without Ray."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from selfreward_ray.inference import rounds
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.pool import FinishedBlock
from selfreward_ray.inference.rounds import RoundBlock, RoundQueue, Rounds
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


def test_blocks_of_a_lost_node_are_done_by_a_replica_that_waits():
    async def go() -> None:
        queue = RoundQueue()
        await queue.put(blocks("first", "second"))
        assert name(await queue.take(0, "a", ["1"])) == "first"
        assert name(await queue.take(1, "b", ["2"])) == "second"
        waiting = asyncio.create_task(queue.take(2, "b", ["2"]))
        await asyncio.sleep(0)
        queue.move({"1"})
        assert name(await waiting) == "first"
        assert [await queue.done(number) for number in (1, 2, 0)] == [True, True, False]
        again = asyncio.create_task(queue.take(0, "a", ["3"]))  # it has found another place at last
        await asyncio.sleep(0)
        assert not again.done()
        await queue.put(blocks("third"))
        assert name(await again) == "third"

    asyncio.run(go())


def test_a_block_of_a_lost_node_waits_for_the_next_that_asks_and_not_for_who_is_lost():
    async def go() -> None:
        queue = RoundQueue()
        await queue.put(blocks("first"))
        assert name(await queue.take(0, "a", ["1"])) == "first"
        dead = asyncio.create_task(queue.take(1, "a", ["1"]))
        await asyncio.sleep(0)
        queue.move({"1"})
        await asyncio.sleep(0)
        assert not dead.done()
        assert name(await queue.take(1, "a", ["2"])) == "first"
        dead.cancel()

    asyncio.run(go())


def test_a_block_that_is_done_is_not_handed_out_again():
    async def go() -> None:
        queue = RoundQueue()
        await queue.put(blocks("first", "second"))
        for number in (0, 1):
            await queue.take(number, "a", ["1"])
        assert await queue.done(0)
        queue.move({"1"})
        assert name(await queue.take(2, "b", ["2"])) == "second"
        other = asyncio.create_task(queue.take(3, "b", ["2"]))
        await asyncio.sleep(0)
        assert not other.done()
        other.cancel()

    asyncio.run(go())


def test_a_replica_that_is_back_has_its_block_on_its_new_node():
    async def go() -> None:
        queue = RoundQueue()
        await queue.put(blocks("first"))
        await queue.take(0, "a", ["1"])
        assert name(await queue.take(0, "a", ["2"])) == "first"
        queue.move({"1"})
        assert await queue.done(0)

    asyncio.run(go())


def test_the_queue_looks_for_lost_nodes_itself(monkeypatch: pytest.MonkeyPatch):
    async def go() -> None:
        monkeypatch.setattr(rounds, "LOOK_EVERY_S", 0.001)
        lost: set[str] = set()
        queue = RoundQueue(lambda: lost)
        await queue.put(blocks("first"))
        await queue.take(0, "a", ["1"])
        other = asyncio.create_task(queue.take(1, "b", ["2"]))
        await asyncio.sleep(0.05)
        assert not other.done()
        lost.add("1")
        assert name(await asyncio.wait_for(other, 30)) == "first"

    asyncio.run(go())


def test_a_round_ends_when_each_of_its_blocks_is_done_once(monkeypatch: pytest.MonkeyPatch):
    """Number 0 was handed to another replica, and its first one had finished it all the same."""
    left = iter([FinishedBlock(n, "out", BlockCounts(rows=n)) for n in (0, 1, 2, 3)])
    monkeypatch.setattr(rounds.ray, "get", lambda answer: answer)
    queue: Any = SimpleNamespace(
        put=SimpleNamespace(remote=lambda blocks: None), done=SimpleNamespace(remote=lambda number: number != 0)
    )
    pool: Any = SimpleNamespace(summary=dict)
    asked = Rounds(queue, pool, left, rows_per_block=1).ask(JOB, [Prompt("p0", "a"), Prompt("p1", "b")])
    assert [counts.rows for counts in asked] == [1, 2]
    assert next(left).number == 3
