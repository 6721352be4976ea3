"""Requests and tokens per minute, and budgets, by a clock that does not wait."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_endpoint import FakeClock

from selfreward_ray.inference.endpoint_limits import Budget, EndpointStopped, RateLimit


def admitted(rate: RateLimit, clock: FakeClock, tokens: list[int]) -> list[float]:
    """The times at which requests of `tokens` are admitted, from 0."""

    async def all_of_them() -> list[float]:
        return [(await rate.admit(units)).time - 1000 for units in tokens]

    return asyncio.run(all_of_them())


def test_without_limits_nothing_waits():
    clock = FakeClock()
    assert admitted(RateLimit(None, None, clock), clock, [10**9] * 5) == [0] * 5
    assert clock.slept == []


def test_requests_per_minute_by_hand():
    """Three at once, then three each time that 60 seconds have passed since those before."""
    clock = FakeClock()
    assert admitted(RateLimit(3, None, clock), clock, [1] * 7) == [0, 0, 0, 60, 60, 60, 120]


def test_tokens_per_minute_by_hand():
    """60 + 30 fit into 100; 40 wait until the 60 are a minute old. 200 are more than the limit, and go alone."""
    clock = FakeClock()
    assert admitted(RateLimit(None, 100, clock), clock, [60, 30, 40, 200, 1]) == [0, 0, 60, 120, 180]


def test_a_request_that_used_less_than_was_estimated_makes_room():
    clock = FakeClock()
    rate = RateLimit(None, 100, clock)

    async def script() -> float:
        first = await rate.admit(90)
        first.tokens = 20
        return (await rate.admit(80)).time - 1000

    assert asyncio.run(script()) == 0


def test_a_pause_holds_everything_back_and_a_shorter_one_does_not_end_it():
    clock = FakeClock()
    rate = RateLimit(None, None, clock)
    rate.pause(7)
    rate.pause(2)
    assert admitted(rate, clock, [1, 1]) == [7, 7]


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 90)), max_size=30), st.integers(1, 5), st.integers(50, 120))
def test_no_sixty_seconds_have_more_than_the_limits(script: list[tuple[int, float]], requests: int, tokens: int):
    """Each request comes some seconds after the one before was admitted."""
    clock = FakeClock()
    rate = RateLimit(requests, tokens, clock)

    async def all_of_them() -> list[tuple[float, int]]:
        found = []
        for units, later in script:
            clock.time += later
            found.append(((await rate.admit(units)).time, units))
        return found

    found = asyncio.run(all_of_them())
    for start, _ in found:
        inside = [units for time, units in found if start <= time < start + 60]
        assert len(inside) <= requests
        assert sum(inside) <= tokens


def test_a_budget_of_calls_is_never_exceeded_and_unanswered_ones_do_not_count():
    async def script() -> None:
        budget = Budget(3, None, calls=1, tokens=0)
        await budget.reserve(5)
        await budget.reserve(5)
        third = asyncio.create_task(budget.reserve(5))
        await asyncio.sleep(0)
        assert not third.done()  # one of the two may fail
        budget.settle(5, None)
        await third
        budget.settle(5, 4)
        budget.settle(5, 4)
        assert (budget.calls, budget.tokens) == (3, 8)
        with pytest.raises(EndpointStopped, match=r"3 calls with 8 tokens .* exceed endpoint.max_calls = 3; raise it"):
            await budget.reserve(5)

    asyncio.run(script())


def test_a_budget_of_tokens_waits_for_what_running_calls_leave():
    """Of 100, 60 are reserved and 10 used: a second call of 60 fits only then, a third one not."""

    async def script() -> None:
        budget = Budget(None, 100, calls=0, tokens=20)
        await budget.reserve(60)
        second = asyncio.create_task(budget.reserve(60))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(60, 10)
        await second
        budget.settle(60, 55)
        with pytest.raises(EndpointStopped, match=r"2 calls with 85 tokens .* endpoint.max_tokens = 100"):
            await budget.reserve(16)
        await budget.reserve(15)

    asyncio.run(script())
