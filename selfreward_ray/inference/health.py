"""Health of a pool's replicas: counts restarts and retries, and decides when to drop a row or stop the pool.

Ray restarts a replica whose process ended and sends it its blocks again, without a limit. `PoolHealth` is the limit:
neither a row that kills engines nor an engine that cannot start is retried forever. A replica that ended with its node
is restarted too, and nobody is blamed for it, up to `MOST_LOSSES` times. `PoolHealth` is one small actor on the
driver's node. Every report of a replica is also a heartbeat; `stall.StallGuard` ends a pool without heartbeats.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

SUSPECT_AFTER = 2
"""A row that was running at this many replica deaths is a suspect: a replica runs its suspects one at a time."""
GIVEN_UP_AFTER = 3
"""A row that was running at this many replica deaths is dropped; at the last one it was the only running suspect."""
GIVEN_UP = f"its replica died {GIVEN_UP_AFTER} times while it ran"
"""The reason with which such a row is dropped."""
MOST_LOSSES = 20
"""A replica that loses its node so often in a row, and no row is finished, may be what takes the node down."""
RECONSIDERED_S = 60.0
"""A node that shuts down ends its processes before Ray says that it is gone, so a death is looked at for so long."""


@dataclass(frozen=True)
class ReplicaStatus:
    """What a replica receives when its process starts."""

    suspects: frozenset[str]
    """Ids of rows to run one at a time."""
    given_up: frozenset[str]
    """Ids of rows to drop."""
    stop_reason: str | None
    """Why the pool has stopped; None while it runs."""
    restarted: bool
    """Whether the replica's process before this one died by itself."""
    node_lost: bool = False
    """Whether the replica's process before this one was lost with its node."""


@dataclass(frozen=True)
class _Death:
    """Of a replica by itself, as far as is known."""

    replica: str
    nodes: frozenset[str]
    rows: frozenset[str]
    at: float


@dataclass
class PoolHealth:
    """The state; `pool` runs it as an actor.

    `max_restarts` limits the consecutive deaths of one replica; a row finished by any replica resets the count. Deaths
    are counted by replica because the loss of a node ends many replicas at once. Only deaths on nodes that are not
    `lost` count, for the replica and for its rows.
    """

    max_restarts: int
    lost: Callable[[], Collection[str]] = frozenset
    """Ids of the nodes that are gone or about to be taken back."""
    clock: Callable[[], float] = time.monotonic
    restarts: int = 0
    """Of replicas that died by themselves."""
    replicas_lost: int = 0
    """Replicas that ended with a node."""
    retried: int = 0
    """Rows that were started again."""
    engines_ready: int = 0
    """Number of engine starts that succeeded."""
    _created: float = field(init=False)
    _start_seconds: float = 0.0
    """Until the first engine was ready; 0 once `summary` has told it."""
    _deaths_in_a_row: Counter[str] = field(default_factory=Counter)
    """By replica."""
    _deaths: Counter[str] = field(default_factory=Counter)
    _losses_in_a_row: Counter[str] = field(default_factory=Counter)
    """Of its nodes, by replica."""
    _recent: list[_Death] = field(default_factory=list)
    """Those that may still turn out to be the loss of a node."""
    _nodes: dict[str, frozenset[str]] = field(default_factory=dict)
    """Where the engine of each replica runs."""
    _running: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _errors: dict[str, str] = field(default_factory=dict)
    _last_error: str | None = None
    _stop_reason: str | None = None
    _last_heartbeat: float = field(init=False)
    _fetching: dict[str, float] = field(default_factory=dict)
    """Fraction of the model on a replica's node, by replica; removed when the fetch is complete."""

    def __post_init__(self) -> None:
        self._created = self._last_heartbeat = self.clock()

    def register(self, replica: str, nodes: Collection[str] = ()) -> ReplicaStatus:
        """A process of `replica` starts on `nodes`. An earlier process, if any, died while its unfinished rows were
        running."""
        self._heartbeat()
        self._fetching.pop(replica, None)
        lost = self.lost()
        self._reconsider(lost)
        node_lost = not self._nodes.get(replica, frozenset()).isdisjoint(lost)
        restarted = replica in self._running and not node_lost
        if node_lost:
            self._count_lost_node(replica)
        elif restarted:
            self._count_death(replica)
        self._running[replica] = set()
        self._nodes[replica] = frozenset(nodes)
        deaths = self._deaths.items()
        return ReplicaStatus(
            frozenset(row for row, times in deaths if SUSPECT_AFTER <= times < GIVEN_UP_AFTER),
            frozenset(row for row, times in deaths if times >= GIVEN_UP_AFTER),
            self._stop_reason,
            restarted,
            node_lost,
        )

    def fetch_progress(self, replica: str, here: int, total: int) -> None:
        """`here` of `total` bytes of the model are on the node of `replica`. Only a change counts as a heartbeat."""
        share = here / total if total else 1.0
        if share != self._fetching.get(replica):
            self._heartbeat()
        self._fetching[replica] = share
        if share >= 1:
            del self._fetching[replica]

    def engine_ready(self) -> None:
        self._heartbeat()
        if not self.engines_ready:
            self._start_seconds = self.clock() - self._created
        self.engines_ready += 1

    def rows_started(self, replica: str, rows: list[str]) -> None:
        self._heartbeat()
        self.retried += sum(row in self._deaths for row in rows)
        self._running[replica].update(rows)

    def rows_finished(self, replica: str, rows: list[str]) -> None:
        self._heartbeat()
        self._running[replica].difference_update(rows)
        if rows:  # an empty block is not progress
            self._deaths_in_a_row.clear()
            self._losses_in_a_row.clear()
            self._last_error = None

    def replica_failed(self, replica: str, error: str) -> None:
        """Record why `replica` is about to end its process."""
        self._errors[replica] = self._last_error = error

    def stop(self, reason: str) -> None:
        """Stop the pool for a reason that a restart cannot fix."""
        self._stop_reason = reason

    def summary(self) -> dict[str, float]:
        """Counts since the previous call, and the seconds until the first engine was ready, for a step's manifest."""
        counts = {
            "engine_restarts": self.restarts,
            "replicas_lost": self.replicas_lost,
            "rows_retried": self.retried,
            "engine_start_seconds": round(self._start_seconds, 1),
        }
        self.restarts = self.replicas_lost = self.retried = 0
        self._start_seconds = 0.0
        return counts

    def idle_seconds(self) -> float:
        """Seconds since the last heartbeat, or since the pool was opened."""
        return self.clock() - self._last_heartbeat

    def activity(self) -> str | None:
        """What the replicas do before the first block is finished, in a few words; None if no replica has started."""
        if not self._running:
            return None
        if self._fetching:
            return f"fetching the model {min(self._fetching.values()):.0%}"
        return "starting the engine"

    def failure(self) -> tuple[str | None, str | None, bool]:
        """The reason why the pool stopped, the last error of a replica, and whether any engine started."""
        return self._stop_reason, self._last_error, self.engines_ready > 0

    def _heartbeat(self) -> None:
        self._last_heartbeat = self.clock()

    def _count_lost_node(self, replica: str) -> None:
        """Its rows are counted as started before, and as blamed for nothing."""
        self.replicas_lost += 1
        self._deaths.update(dict.fromkeys(self._running[replica], 0))
        self._errors.pop(replica, None)
        self._last_error = "the node of a replica was lost"
        self._losses_in_a_row[replica] += 1
        if self._stop_reason is None and self._losses_in_a_row[replica] > MOST_LOSSES:
            self.stop(
                f"a replica lost its node {self._losses_in_a_row[replica]} times and no row was finished in between; "
                "do the nodes have enough memory for the model?"
            )

    def _reconsider(self, lost: Collection[str]) -> None:
        """Take back recent deaths on nodes that are known to be `lost` only now."""
        since = self.clock() - RECONSIDERED_S
        recent, self._recent = [death for death in self._recent if death.at > since], []
        for death in recent:
            if not death.nodes.isdisjoint(lost):
                self.restarts = max(0, self.restarts - 1)  # a summary may have told it
                self.replicas_lost += 1
                self._deaths.subtract(death.rows)
                if self._deaths_in_a_row[death.replica]:
                    self._deaths_in_a_row[death.replica] -= 1
            else:
                self._recent.append(death)

    def _count_death(self, replica: str) -> None:
        self.restarts += 1
        rows = frozenset(self._running[replica])
        self._deaths.update(rows)
        self._recent.append(_Death(replica, self._nodes.get(replica, frozenset()), rows, self.clock()))
        self._deaths_in_a_row[replica] += 1
        self._last_error = self._errors.pop(replica, "its process was killed; was there too little memory?")
        if self._stop_reason is None and self._deaths_in_a_row[replica] > self.max_restarts:
            times = f"a replica died {self._deaths_in_a_row[replica]} times"
            self.stop(f"{times} and no row was finished in between; the last error: {self._last_error}")
