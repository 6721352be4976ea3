"""What the replicas of a pool went through: who died over which rows, and when that is enough.

One small actor on the driver's node. Ray restarts a replica whose process ended and hands it its blocks again; here
it is counted, so that neither a row that kills engines nor an engine that can not start is tried for ever.
Whatever a replica tells is also a sign of life: a pool that gives none for long is at an end.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

SUSPECT_AFTER = 2
"""Deaths over a row after which its replica runs it beside no other suspect."""
GIVEN_UP_AFTER = 3
"""Deaths over a row after which it is dropped: the last of them met it as the only suspect."""


@dataclass(frozen=True)
class ReplicaStatus:
    """What a replica is told when its process begins."""

    suspects: frozenset[str]
    """Ids of rows to be run one at a time."""
    given_up: frozenset[str]
    """Ids of rows not to be run again."""
    stop_reason: str | None
    """Why the pool is at an end; None while it is not."""
    restarted: bool
    """Whether the replica had a process before."""


@dataclass
class PoolHealth:
    """Plain state; `pool` makes an actor of it.

    `max_restarts` bounds one replica's deaths in a row, between which no replica finished a row: a lost node takes many
    replicas with it, once each.
    """

    max_restarts: int
    clock: Callable[[], float] = time.monotonic
    restarts: int = 0
    retried: int = 0
    """Rows that were begun again."""
    engines_ready: int = 0
    """Engines that came up."""
    _deaths_in_a_row: Counter[str] = field(default_factory=Counter)
    """By replica."""
    _deaths: Counter[str] = field(default_factory=Counter)
    _running: dict[str, set[str]] = field(default_factory=dict)
    _errors: dict[str, str] = field(default_factory=dict)
    _last_error: str | None = None
    _stop_reason: str | None = None
    _last_alive: float | None = None
    _fetching: dict[str, float] = field(default_factory=dict)
    """By replica, how much of the model is on its node, from 0 to 1; not there once it is whole."""

    def register(self, replica: str) -> ReplicaStatus:
        """A process of `replica` begins. An earlier one has died while the rows that are still open ran."""
        self._mark_alive()
        self._fetching.pop(replica, None)
        restarted = replica in self._running
        if restarted:
            self._count_death(replica)
        self._running[replica] = set()
        deaths = self._deaths.items()
        return ReplicaStatus(
            frozenset(row for row, times in deaths if SUSPECT_AFTER <= times < GIVEN_UP_AFTER),
            frozenset(row for row, times in deaths if times >= GIVEN_UP_AFTER),
            self._stop_reason,
            restarted,
        )

    def fetch_progress(self, replica: str, here: int, total: int) -> None:
        """`here` of `total` bytes of the model are on the node of `replica`. Only news is a sign of life."""
        share = here / total if total else 1.0
        if share != self._fetching.get(replica):
            self._mark_alive()
        self._fetching[replica] = share
        if share >= 1:
            del self._fetching[replica]

    def engine_ready(self) -> None:
        self._mark_alive()
        self.engines_ready += 1

    def rows_started(self, replica: str, rows: list[str]) -> None:
        self._mark_alive()
        self.retried += sum(row in self._deaths for row in rows)
        self._running[replica].update(rows)

    def rows_finished(self, replica: str, rows: list[str]) -> None:
        self._mark_alive()
        self._running[replica].difference_update(rows)
        if rows:  # a block may be empty: nothing was done for it
            self._deaths_in_a_row.clear()
            self._last_error = None

    def replica_failed(self, replica: str, error: str) -> None:
        """Why `replica` is about to end its process."""
        self._errors[replica] = self._last_error = error

    def stop(self, reason: str) -> None:
        """What no restart can mend."""
        self._stop_reason = reason

    def summary(self) -> dict[str, int]:
        """Counts for a step's manifest: of what happened since they were last asked for."""
        counts = {"engine_restarts": self.restarts, "rows_retried": self.retried}
        self.restarts = self.retried = 0
        return counts

    def idle_seconds(self) -> float | None:
        """Seconds since the last sign of life; None before the first."""
        return None if self._last_alive is None else self.clock() - self._last_alive

    def activity(self) -> str | None:
        """What the replicas do before the first block is finished, in a few words; None where none has begun."""
        if not self._running:
            return None
        if self._fetching:
            return f"fetching the model {min(self._fetching.values()):.0%}"
        return "starting the engine"

    def failure(self) -> tuple[str | None, str | None, bool]:
        """Why the pool ended, the last error of a replica, and whether any engine ever came up."""
        return self._stop_reason, self._last_error, self.engines_ready > 0

    def _mark_alive(self) -> None:
        self._last_alive = self.clock()

    def _count_death(self, replica: str) -> None:
        self.restarts += 1
        self._deaths.update(self._running[replica])
        self._deaths_in_a_row[replica] += 1
        self._last_error = self._errors.pop(replica, "its process was ended from outside; was there too little memory?")
        if self._stop_reason is None and self._deaths_in_a_row[replica] > self.max_restarts:
            times = f"a replica died {self._deaths_in_a_row[replica]} times"
            self.stop(f"{times} and no row was finished in between; the last error: {self._last_error}")
