"""Who works on a run in an object store: one process at a time, which says every few seconds that it is there.

Object stores have no locks. Each process that wants the run writes a claim, an object of its own, and Lamport's bakery
algorithm (1974) chooses among them, so that of two at the same moment one goes on. It asks of a store only that what
was written is listed at once, as S3, Google Cloud Storage and Azure promise. No clocks are compared: a process is dead
to another that has seen its claim unchanged for `DEAD_S`.
"""

import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.reporting.silence import doing
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.object_store import hurried
from selfreward_ray.store.this_process import at_work, this_process

CLAIMS = "owners"
BEAT_S, DEAD_S = 5.0, 30.0
"""Seconds between two writings of a claim, and for which it must be unchanged to be that of a dead process."""
_LOOK_S = 0.5
_LOST = signal.SIGUSR2
"""Interrupts the main thread as Ctrl-C would, whose own signal a process in the background may ignore."""


@dataclass(frozen=True)
class Claim:
    """What a process writes of itself."""

    id: str
    process: str
    """Who it is, for people."""
    number: int | None = None
    """Its place in the queue, the lowest first; None while it looks for one."""
    beat: int = 0
    """How often it has said that it is there."""
    over: tuple[str, ...] = ()
    """Claims that it has removed, of processes that it takes for dead."""

    @property
    def place(self) -> tuple[int, str]:
        return (-1 if self.number is None else self.number, self.id)


@contextmanager
def leased(run: Folder) -> Iterator[Callable[[], bool]]:
    """Keep other processes from working on the run. Raises `UserError` if one does, within a few seconds. Gives a
    function that says whether the run is still this process's.

    Where the last one ended without a word, it waits until that is certain. If another process has taken the run over,
    because this one was not heard of, as after a pause of its machine, the block is interrupted and `UserError` raised.
    The main thread calls it: no other can be interrupted.
    """
    owner = _Owner(run)
    before = signal.signal(_LOST, _interrupt)
    try:
        owner.wait_for_turn()
        yield lambda: owner.lost is None
    except BaseException:  # what is interrupted may raise something else
        if owner.lost is None:
            raise
        raise UserError(
            f"{run.uri} was taken over by {owner.lost}, because this process was not heard of for "
            f"{DEAD_S:g} seconds; it stops, and what it has finished is kept"
        ) from None
    finally:
        signal.signal(_LOST, signal.SIG_IGN)
        owner.leave()
        signal.signal(_LOST, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def holder(run: Folder) -> str | None:
    """Who holds the lease of the run, which it shows by a sign within two beats; None if no process does."""
    claims = run / CLAIMS
    before, end = _all(claims), time.monotonic() + 2 * BEAT_S
    alive: dict[str, Claim] = {}
    with doing(f"{run.uri}: waiting for a sign of the process that was at work on it"):
        while before and time.monotonic() < end:
            time.sleep(_LOOK_S)
            now = {name: claim for name, claim in _all(claims).items() if claim.number is not None}
            alive |= {name: claim for name, claim in now.items() if before.get(name, claim) != claim}
            first = min(now.values(), key=lambda claim: claim.place, default=None)
            if first is None:
                return None
            if first.id in alive:
                return first.process
    return min(alive.values(), key=lambda claim: claim.place).process if alive else None


class _Owner:
    """This process in the queue for a run."""

    def __init__(self, run: Folder):
        self.run = run
        self.claims = run / CLAIMS
        self.lost: str | None = None
        """Who has taken the run over."""
        self._claim = Claim(uuid.uuid4().hex, this_process())
        self._looked = time.monotonic()
        self._left = threading.Event()
        self._changing = threading.Lock()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)

    def wait_for_turn(self) -> None:
        """Return when the run is this process's own."""
        self._write()
        numbers = [claim.number or 0 for claim in _all(self.claims).values()]
        self._write(number=1 + max(numbers, default=0))
        self._beating.start()
        seen: dict[str, tuple[Claim, float]] = {}
        with doing(f"{self.run.uri}: waiting for a sign of the process that was at work on it"):
            while not self._is_first(seen):
                time.sleep(_LOOK_S)

    def leave(self) -> None:
        """Give the run, or the place in its queue, to others."""
        self._left.set()
        with suppress(RuntimeError):  # it was not started
            self._beating.join()
        with suppress(OSError), hurried():  # others find it unchanged
            self.claims.remove(f"{self._claim.id}.json")

    def _is_first(self, seen: dict[str, tuple[Claim, float]]) -> bool:
        """Whether no other process is before this one. `seen` holds each claim, and when it was first seen like this.

        Raises `UserError` if one that is alive is before it.
        """
        claims, now, first = _all(self.claims), time.monotonic(), True
        away = max(0.0, now - self._looked - BEAT_S)  # the storage, so that others could not be heard of either
        self._looked = now
        for name, claim in claims.items():
            if self._claim.id in claim.over:  # it was not heard of while it looked for a place
                raise at_work(self.run, claim.process)
            if claim.place >= self._claim.place:
                continue
            before, since = seen.get(name, (claim, now))
            if claim != before and claim.number is not None:
                raise at_work(self.run, claim.process)
            seen[name] = (claim, now if claim != before else min(now, since + away))
            if now - seen[name][1] > DEAD_S:
                self._write(over=(*self._claim.over, name))
                self.claims.remove(f"{name}.json")
                continue
            first = False
        return first

    def _beat(self) -> None:
        """Say that this process is there, until it leaves or another one has taken over."""
        while not self._left.wait(BEAT_S):
            # Whatever the storage raises, of any kind: an outage of it for all ends nothing, and after one for this
            # machine alone the next look says who has taken over.
            with suppress(Exception), hurried():
                claims = _all(self.claims)
                heirs = [claim.process for claim in claims.values() if self._claim.id in claim.over]
                if heirs or self._claim.id not in claims:
                    self.lost = next(iter(heirs), "another process")
                    # What the main thread waits for ends by a signal alone.
                    signal.pthread_kill(threading.main_thread().ident or 0, _LOST)
                    return
                self._write(beat=self._claim.beat + 1)

    def _write(self, **changes: Any) -> None:
        with self._changing:
            self._claim = replace(self._claim, **changes)
            self.claims.write_json(f"{self._claim.id}.json", asdict(self._claim))


def _all(claims: Folder) -> dict[str, Claim]:
    """All claims by their ids."""
    found = {}
    for path in claims.files(".json"):
        name = PurePosixPath(path).stem
        with suppress(FileNotFoundError):  # it has left meanwhile
            found[name] = _read(claims, name)
    return found


def _read(claims: Folder, name: str) -> Claim:
    try:
        value = json.loads(claims.read_bytes(f"{name}.json"))
        number = None if value["number"] is None else int(value["number"])
        return Claim(name, str(value["process"]), number, int(value["beat"]), tuple(value["over"]))
    except (ValueError, KeyError, TypeError):  # torn
        return Claim(name, "another process")
