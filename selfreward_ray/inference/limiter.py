"""Backpressure by tokens: what one replica's engine is asked at a time."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class TokenLimiter:
    """Lets requests through while the tokens of those under way fit into `budget`, the oldest row's first.

    A row's later requests so come before those of rows behind it: rows are finished, not merely begun, and what a
    replica remembers stays bounded whether a row asks once or two hundred times.
    """

    def __init__(self, budget: int):
        self._budget = budget
        self._tokens = 0
        self._requests = 0
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._rows = count()

    def next_row(self) -> int:
        """The number of a row that comes now."""
        return next(self._rows)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._requests

    @asynccontextmanager
    async def acquire(self, tokens: int, row: int) -> AsyncIterator[None]:
        """Room for a request of at most `tokens` tokens, prompt and reply, of the row of that number.

        One that exceeds the whole budget is let through once nothing else is under way.
        """
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (row, next(self._arrivals), tokens, admitted))
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._admit()  # it may have been what those behind it waited for
            else:
                self._release(tokens)
            raise
        try:
            yield
        finally:
            self._release(tokens)

    def _release(self, tokens: int) -> None:
        self._tokens -= tokens
        self._requests -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            _, _, tokens, admitted = self._waiting[0]
            if not admitted.cancelled():
                if self._requests and self._tokens + tokens > self._budget:
                    return
                self._tokens += tokens
                self._requests += 1
                admitted.set_result(None)
            heapq.heappop(self._waiting)
