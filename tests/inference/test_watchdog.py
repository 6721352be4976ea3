"""When an engine is given up: at a clock that the test sets."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_ray.inference import replica, stats
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.replica import EngineWatchdog
from selfreward_ray.inference.stats import EngineStats

GIVEN_UP = "the engine made no step in 5 s with requests under way"


class GivenUp(Exception):
    pass


class Bench:
    """A watchdog of 5 seconds over an engine's stats; `now` is the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        for module in (replica, stats):
            monkeypatch.setattr(module, "time", clock)
        self.stats = EngineStats()
        self.limiter = TokenLimiter(10)
        self.published: list[EngineStats] = []
        metrics: Any = SimpleNamespace(publish=self.published.append)
        self.watchdog = EngineWatchdog(self.stats, self.limiter, metrics, 5.0, self._give_up)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def look_after(self, seconds: float) -> None:
        self.sleep(seconds)
        self.watchdog.check()

    def _give_up(self, error: str) -> None:
        raise GivenUp(error)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def with_a_request(bench: Bench, script: Any) -> None:
    async def under_way() -> None:
        async with bench.limiter.acquire(1, 0):
            script()

    asyncio.run(under_way())


def test_an_engine_that_makes_no_step_with_requests_under_way_is_given_up(bench: Bench):
    def script() -> None:
        bench.look_after(5.0)
        with pytest.raises(GivenUp, match=GIVEN_UP):
            bench.look_after(0.1)

    with_a_request(bench, script)


def test_an_engine_that_makes_steps_is_not_given_up_however_long_they_take_together(bench: Bench):
    def script() -> None:
        for _ in range(4):
            bench.look_after(3.0)
            bench.stats.record(None, None)

    with_a_request(bench, script)


def test_an_idle_engine_is_not_given_up_and_its_time_counts_from_its_first_request(bench: Bench):
    for _ in range(3):
        bench.look_after(1000.0)
    with_a_request(bench, lambda: bench.look_after(4.0))
    bench.look_after(1000.0)
    with_a_request(bench, lambda: bench.look_after(5.0))


def test_requests_that_wait_for_an_engine_that_hangs_do_not_count_as_none(bench: Bench):
    """The one under way is what hangs; that others wait behind it changes nothing."""

    async def script() -> None:
        async with bench.limiter.acquire(10, 0):
            behind = asyncio.create_task(bench.limiter.acquire(10, 1).__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(GivenUp):
                bench.look_after(5.1)
            behind.cancel()

    asyncio.run(script())


def test_the_engines_start_is_no_time_without_a_step(bench: Bench):
    def script() -> None:
        bench.sleep(1000.0)
        with pytest.raises(GivenUp):
            bench.watchdog.run()

    with_a_request(bench, script)
    assert bench.now == 1106.0


def test_figures_are_published_at_each_look(bench: Bench):
    bench.watchdog.check()
    bench.watchdog.check()
    assert bench.published == [bench.stats, bench.stats]


def test_it_looks_every_second_for_as_long_as_it_lives(bench: Bench):
    def script() -> None:
        with pytest.raises(GivenUp):
            bench.watchdog.run()

    with_a_request(bench, script)
    assert bench.now == 106.0
    assert len(bench.published) == 5
