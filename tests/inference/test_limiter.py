"""Which requests are admitted to an engine, and in which order. The tests decide when a request ends."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.inference.block import BlockCounts, Job, run_block
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.programs import respond_and_judge
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.schema import Judge, Respond, Sampling, VerdictSampling
from selfreward_ray.records import Completion, JudgedPrompt, Prompt, Turn


class Traffic:
    """Requests at a limiter of `budget` tokens; each runs until `end` or `cancel`."""

    def __init__(self, budget: int, requests: int | None = None):
        self.limiter = TokenLimiter(budget, requests)
        self.under_way: dict[str, int] = {}
        self.order: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    def ask(self, name: str, tokens: int, row: int = 0) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._request(name, tokens, row))

    def end(self, name: str) -> None:
        self._ends[name].set()

    def cancel(self, name: str) -> None:
        self._tasks[name].cancel()

    async def settle(self) -> list[str]:
        """Let all ready tasks run. Returns the requests that are then running."""
        for _ in range(5):
            await asyncio.sleep(0)
        return sorted(self.under_way)

    async def _request(self, name: str, tokens: int, row: int) -> None:
        async with self.limiter.acquire(tokens, row):
            self.order.append(name)
            self.under_way[name] = tokens
            try:
                await self._ends[name].wait()
            finally:
                del self.under_way[name]


def run(script: Callable[[Traffic], Awaitable[None]], budget: int = 10) -> None:
    async def through() -> None:
        await script(Traffic(budget))

    asyncio.run(through())


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 4), st.integers(1, 14)),
    st.tuples(st.just("end"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
def test_running_requests_fit_into_the_budget_and_the_oldest_rows_come_first(steps: list[tuple[str, int, int]]):
    """Compares with a plain list. Requests are made, ended and cancelled in any order, and all are admitted."""

    async def script(traffic: Traffic) -> None:
        waiting: list[tuple[int, int, int]] = []
        under_way: dict[str, int] = {}
        order: list[str] = []

        async def compare() -> None:
            waiting.sort()
            while waiting and (not under_way or sum(under_way.values()) + waiting[0][2] <= 10):
                _, number, tokens = waiting.pop(0)
                under_way[str(number)] = tokens
                order.append(str(number))
            await traffic.settle()
            assert (traffic.under_way, traffic.order) == (under_way, order)
            assert traffic.limiter.in_flight == len(under_way)
            assert sum(traffic.under_way.values()) <= 10 or len(traffic.under_way) == 1

        for number, (kind, which, tokens) in enumerate(steps):
            if kind == "ask":
                waiting.append((which, number, tokens))
                traffic.ask(str(number), tokens, row=which)
            elif kind == "end" and which < len(under_way):
                traffic.end(name := list(under_way)[which])
                del under_way[name]
            elif kind == "cancel" and which < len(known := [*under_way, *(str(n) for _, n, _ in waiting)]):
                traffic.cancel(name := known[which])
                under_way.pop(name, None)
                waiting = [w for w in waiting if str(w[1]) != name]
            await compare()
        while under_way:
            traffic.end(name := next(iter(under_way)))
            del under_way[name]
            await compare()
        assert not waiting

    run(script)


def test_a_request_larger_than_the_budget_goes_alone():
    async def script(traffic: Traffic) -> None:
        for name, tokens in (("small", 1), ("huge", 11), ("next", 1)):
            traffic.ask(name, tokens)
        assert await traffic.settle() == ["small"]
        traffic.end("small")
        assert await traffic.settle() == ["huge"]
        traffic.end("huge")
        assert await traffic.settle() == ["next"]

    run(script)


def test_no_more_requests_are_admitted_than_may_run_at_a_time():
    async def script() -> None:
        traffic = Traffic(10, requests=2)
        for name, tokens in (("a", 1), ("b", 1), ("c", 1), ("d", 1)):
            traffic.ask(name, tokens)
        assert await traffic.settle() == ["a", "b"]
        traffic.end("a")
        traffic.cancel("c")
        assert await traffic.settle() == ["b", "d"]
        traffic.end("b")
        traffic.end("d")
        assert await traffic.settle() == []

    asyncio.run(script())


def test_a_rows_later_requests_come_before_those_of_younger_rows():
    async def script(traffic: Traffic) -> None:
        old, young = traffic.limiter.next_row(), traffic.limiter.next_row()
        assert (old, young) == (0, 1)
        traffic.ask("old reply", 10, old)
        await traffic.settle()
        traffic.ask("young reply", 10, young)
        await traffic.settle()
        traffic.ask("old verdict", 10, old)
        for expected in ("old reply", "old verdict", "young reply"):
            assert await traffic.settle() == [expected]
            traffic.end(expected)

    run(script)


def test_a_waiting_request_that_is_cancelled_no_longer_keeps_back_those_behind_it():
    async def script(traffic: Traffic) -> None:
        for name, tokens in (("first", 6), ("large", 5), ("small", 4)):
            traffic.ask(name, tokens)
        assert await traffic.settle() == ["first"]
        traffic.cancel("large")
        assert await traffic.settle() == ["first", "small"]

    run(script)


def test_a_request_that_is_cancelled_just_after_its_admission_releases_its_tokens():
    """It is cancelled after its admission and before its task continues."""

    async def script(traffic: Traffic) -> None:
        async with traffic.limiter.acquire(10, 0):
            traffic.ask("let through", 10)
            traffic.ask("behind", 10)
            await traffic.settle()
        traffic.cancel("let through")
        assert await traffic.settle() == ["behind"]
        assert (traffic.order, traffic.limiter.in_flight) == (["behind"], 1)

    run(script)


def test_a_request_that_fails_releases_its_tokens():
    async def script(traffic: Traffic) -> None:
        with pytest.raises(KeyError):
            async with traffic.limiter.acquire(10, 0):
                raise KeyError("boom")
        traffic.ask("next", 10)
        assert await traffic.settle() == ["next"]

    run(script)


class CountingEngine:
    """Each request takes 1 to 20 turns of the event loop; a row makes `requests` of them.

    `load` has the tokens of running requests at each turn, and `open_rows` the number of partly answered rows.
    """

    def __init__(self, requests: int) -> None:
        self.load: list[int] = []
        self.open_rows: list[int] = []
        self._requests = requests
        self._tokens = 0
        self._answered: Counter[str] = Counter()

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        return [0] * 10

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        self._tokens += len(prompt_ids) + sampling.max_tokens
        for _ in range(1 + crc32(request_id.encode()) % 20):
            await asyncio.sleep(0)
        self._tokens -= len(prompt_ids) + sampling.max_tokens
        self._answered[request_id.split("/")[0]] += 1
        return Completion("Score: 3", (1,), "stop")

    async def keep_time(self, rows: int) -> None:
        """Until all `rows` are answered."""
        while list(self._answered.values()) != [self._requests] * rows:
            self.load.append(self._tokens)
            self.open_rows.append(sum(count < self._requests for count in self._answered.values()))
            await asyncio.sleep(0)


@pytest.mark.parametrize(("candidates", "open_at_most"), [(1, 40), (8, 9), (64, 2)])
def test_rows_of_any_size_keep_the_engine_full_and_few_of_them_are_open(
    tmp_path: Path, candidates: int, open_at_most: int
):
    """512 candidates with 2 verdicts each: requests of 100 and 60 tokens for an engine with a budget of 3000.

    At most 30 candidates fit at a time. With one candidate per row, 30 rows and a few more are open, not all 512.
    """
    respond = Respond(candidates=candidates, sampling=Sampling(max_tokens=90))
    judge = Judge(verdicts=2, min_valid=1, retries=0, sampling=VerdictSampling(max_tokens=50))
    program = partial(respond_and_judge, respond=respond, judge=judge, rubric=load_rubric("checklist"))
    prompts = [Prompt(f"p{i}", "?") for i in range(512 // candidates)]
    engine = CountingEngine(requests=candidates * 3)

    async def busy() -> BlockCounts:
        job = Job("respond", program, Prompt, JudgedPrompt, str(tmp_path), 1)
        block, _ = await asyncio.gather(
            run_block(prompts, engine, job, TokenLimiter(3000)), engine.keep_time(len(prompts))
        )
        return block

    block = asyncio.run(busy())
    assert (block.rows, block.dropped, block.verdicts) == (len(prompts), 0, 1024)
    assert max(engine.load) <= 3000
    assert sum(engine.load) / len(engine.load) > 0.85 * 3000
    assert max(engine.open_rows) <= open_at_most
