"""A tracker in a thread of its own, so that a slow or failing one neither delays nor ends the run."""

import queue
import threading
import time
from collections.abc import Callable

from selfreward_ray.tracking.tracker import Tracker

SECONDS_BETWEEN_FLUSHES = 5.0
SECONDS_TO_CLOSE = 30.0

Call = Callable[[Tracker], None]


class Outlet:
    """Calls `tracker` in the order of `put`. `say` is told once if the tracker fails; it is not called again then."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]) -> None:
        self._name = name
        self._tracker = tracker
        self._say = say
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, call: Call) -> None:
        """Have `call` called with the tracker. Returns at once."""
        if not self._failed:
            self._calls.put(call)

    def close(self) -> None:
        """Wait until the tracker has received everything and is closed, at most `SECONDS_TO_CLOSE`."""
        self._calls.put(None)
        self._thread.join(SECONDS_TO_CLOSE)
        if self._thread.is_alive():
            self._say(f"{self._name} has not received the last metrics within {SECONDS_TO_CLOSE:g} s")

    def _work(self) -> None:
        flushed, pending = time.monotonic(), False
        while True:
            try:
                call = self._calls.get(timeout=SECONDS_BETWEEN_FLUSHES if pending else None)
            except queue.Empty:
                call = None if self._failed else _nothing
            if call is None:
                self._try(lambda tracker: tracker.close())
                return
            self._try(call)
            pending = True
            if time.monotonic() - flushed >= SECONDS_BETWEEN_FLUSHES:
                self._try(lambda tracker: tracker.flush())
                flushed, pending = time.monotonic(), False

    def _try(self, call: Call) -> None:
        if self._failed:
            return
        try:
            call(self._tracker)
        except Exception as error:  # whatever another package raises: the run goes on
            self._failed = True
            self._say(f"the tracker {self._name} failed, and receives nothing more: {type(error).__name__}: {error}")


def _nothing(_: Tracker) -> None:
    pass
