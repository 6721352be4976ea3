"""Counts what all attempts at a step on the pool have done and cost; `store.so_far` keeps it between them."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields

from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.store.so_far import SO_FAR, Sums, read_sums
from selfreward_ray.store.step import Step

SECONDS_BETWEEN = 10.0
_COUNTS = {each.name for each in fields(BlockCounts)}


class SoFar:
    """The sums of an unfinished step, of which `Step.is_done` has said so."""

    def __init__(self, step: Step, clock: Callable[[], float] = time.monotonic):
        self.counted = BlockCounts()
        """Of this attempt."""
        self._step = step
        self._clock = clock
        self._written = clock()
        earlier = read_sums(step.folder) or Sums()
        self._earlier = BlockCounts(**{name: count for name, count in earlier.counts.items() if name in _COUNTS})
        self._seconds = earlier.seconds
        self._faults = dict(earlier.faults)

    def begin(self) -> None:
        """The seconds of this attempt count from here."""
        self._step.begin(self._seconds)

    @property
    def total(self) -> BlockCounts:
        """Of all attempts."""
        return self._earlier + self.counted

    def faults(self, more: Mapping[str, float]) -> dict[str, float]:
        """Those of all attempts, `more` included."""
        for name, count in more.items():
            self._faults[name] = round(self._faults.get(name, 0) + count, 1)
        return dict(self._faults)

    def beat(self, done: int, faults: Callable[[], Mapping[str, float]]) -> None:
        """Write the sums, unless that was done some seconds ago. `faults` tells those since it was last called."""
        if self._clock() - self._written >= SECONDS_BETWEEN:
            self.faults(faults())
            self.write(done)

    def write(self, done: int) -> None:
        self._written = self._clock()
        sums = Sums(done, self._step.seconds, asdict(self.total), self._faults)
        self._step.folder.write_json(SO_FAR, asdict(sums))

    def write_after_error(self, done: int) -> None:
        """As `write`, but the storage may fail: that is often the error, which must be seen."""
        with suppress(OSError):
            self.write(done)
