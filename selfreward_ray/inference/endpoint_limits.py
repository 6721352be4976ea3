"""Limits on the use of an endpoint: requests and tokens per minute, and a budget of calls and tokens."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from selfreward_ray.inference.engine import EngineDead

WINDOW_S = 60.0
"""Seconds for which a rate is limited."""


class EndpointStopped(EngineDead):
    """The endpoint cannot answer further requests of this step. The message contains the remedy."""


class Clock:
    """Time for the client of an endpoint. Tests pass one that does not wait."""

    def now(self) -> float:
        """Seconds of a clock that is never set back."""
        return time.monotonic()

    def date(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RateLimit:
    """At most `requests` requests and `tokens` tokens in any 60 seconds, in order of arrival; None sets no limit."""

    def __init__(self, requests: int | None, tokens: int | None, clock: Clock):
        self._requests = requests
        self._tokens = tokens
        self._clock = clock
        self._turn = asyncio.Lock()
        self._open_from = 0.0
        self._admitted: deque[Admitted] = deque()

    async def admit(self, tokens: int) -> "Admitted":
        """Wait until a request of `tokens` tokens fits. One of more than the limit waits until it is alone.

        The tokens of the result may be corrected when their true number is known.
        """
        async with self._turn:
            while (wait := self._wait_s(tokens)) > 0:
                await self._clock.sleep(wait)
            admitted = Admitted(self._clock.now(), tokens)
            self._admitted.append(admitted)
            return admitted

    def pause(self, seconds: float) -> None:
        """Admit nothing for this time from now."""
        self._open_from = max(self._open_from, self._clock.now() + seconds)

    def _wait_s(self, tokens: int) -> float:
        """Seconds until it is worth trying again; 0 or less if a request of `tokens` tokens fits now."""
        now = self._clock.now()
        while self._admitted and self._admitted[0].time + WINDOW_S <= now:
            self._admitted.popleft()
        if self._fits(tokens):
            return self._open_from - now
        return max(self._open_from, self._admitted[0].time + WINDOW_S) - now

    def _fits(self, tokens: int) -> bool:
        if self._requests is not None and len(self._admitted) >= self._requests:
            return False
        if self._tokens is None or not self._admitted:
            return True
        return sum(admitted.tokens for admitted in self._admitted) + tokens <= self._tokens


@dataclass
class Admitted:
    """A request of the last 60 seconds."""

    time: float
    tokens: int


class Budget:
    """Calls and tokens that a step may use. `calls` and `tokens` were used by its earlier attempts.

    A running request reserves what it may use at most, by an estimate of its prompt's tokens. So the budget is exceeded
    at most by the error of the estimates.
    """

    def __init__(self, max_calls: int | None, max_tokens: int | None, calls: int, tokens: int):
        self._max_calls = max_calls
        self._max_tokens = max_tokens
        self.calls = calls
        self.tokens = tokens
        self._running = 0
        self._reserved = 0
        self._changed = asyncio.Event()

    async def reserve(self, tokens: int) -> None:
        """Wait until a call of at most `tokens` tokens fits. Raises `EndpointStopped` if it will not fit."""
        while field := self._lacking(tokens):
            if not self._running:
                raise EndpointStopped(
                    f"the budget is spent: {self.calls} calls with {self.tokens} tokens were answered, and the next "
                    f"one could exceed {field}; raise it"
                )
            await self._changed.wait()
        self._running += 1
        self._reserved += tokens

    def settle(self, reserved: int, used: int | None) -> None:
        """A call that had reserved `reserved` tokens used `used`; None if it was not answered."""
        self._running -= 1
        self._reserved -= reserved
        if used is not None:
            self.calls += 1
            self.tokens += used
        self._changed.set()
        self._changed = asyncio.Event()

    def _lacking(self, tokens: int) -> str | None:
        """The limit into which another call of `tokens` tokens does not fit beside the running ones."""
        if self._max_calls is not None and self.calls + self._running >= self._max_calls:
            return f"endpoint.max_calls = {self._max_calls}"
        if self._max_tokens is not None and self.tokens + self._reserved + tokens > self._max_tokens:
            return f"endpoint.max_tokens = {self._max_tokens}"
        return None
