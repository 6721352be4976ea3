"""Backpressure by tokens: limits the concurrent requests of one replica's engine."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class TokenLimiter:
    """Admits requests while the tokens of the running ones fit into `budget`, and at most `requests` at a time if that
    is given. The oldest row has priority.

    So a row's later requests come before those of younger rows. Rows are finished before new ones start, and a
    replica's memory stays bounded whether a row makes one request or two hundred.
    """

    def __init__(self, budget: int, requests: int | None = None):
        self._budget = budget
        self._most_requests = requests
        self._tokens = 0
        self._requests = 0
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._rows = count()

    def next_row(self) -> int:
        """The number of a new row; smaller numbers have priority."""
        return next(self._rows)

    @property
    def in_flight(self) -> int:
        """Number of running requests."""
        return self._requests

    @asynccontextmanager
    async def acquire(self, tokens: int, row: int) -> AsyncIterator[None]:
        """Hold `tokens` of the budget (prompt plus maximum reply) for a request of row number `row`.

        A request that exceeds the whole budget is admitted when no other request is running.
        """
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (row, next(self._arrivals), tokens, admitted))
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._admit()  # it may have blocked the requests behind it
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
                if (self._requests and self._tokens + tokens > self._budget) or self._requests == self._most_requests:
                    return
                self._tokens += tokens
                self._requests += 1
                admitted.set_result(None)
            heapq.heappop(self._waiting)
