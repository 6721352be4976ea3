"""Who works on a run, or on a step, in an object store: one process at a time, which says every few seconds that it is
there.

Object stores have no locks. Each process that wants the run writes a claim, an object of its own, and Lamport's bakery
algorithm (1974) chooses among them, so that of two at the same moment one goes on. It asks of a store only that what
was written is listed at once, as S3, Google Cloud Storage and Azure promise. No clocks are compared: a process is dead
to another that has seen its claim unchanged for `DEAD_S`. So a process that cannot write its claim for so long stops.
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
_now = time.monotonic
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
    So it is where another may do that, because the storage cannot be reached from here. The main thread calls it: no
    other can be interrupted.
    """
    owner = _Owner(run)
    before = signal.signal(_LOST, _interrupt)
    try:
        owner.wait_for_turn()
        yield lambda: owner.lost is None
    except BaseException:  # what is interrupted may raise something else
        if owner.lost is None:
            raise
        raise UserError(f"{run.uri} {owner.lost}") from None
    finally:
        signal.signal(_LOST, signal.SIG_IGN)
        owner.leave()
        signal.signal(_LOST, before)


class TakenOver(KeyboardInterrupt):
    """The run is, or may be, another process's now: this one writes nothing more."""


def _interrupt(_number: int, _frame: object) -> None:
    raise TakenOver


def holder(run: Folder) -> str | None:
    """Who holds the lease of the run, which it shows by a sign within two beats; None if no process does."""
    claims = run / CLAIMS
    before, end = _all(claims), _now() + 2 * BEAT_S
    alive: dict[str, Claim] = {}
    with doing(f"{run.uri}: waiting for a sign of the process that was at work on it"):
        while before and _now() < end:
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
        """Why the run is not this process's own any more."""
        self._claim = Claim(uuid.uuid4().hex, this_process())
        self._looked = _now()
        self._left = threading.Event()
        self._leaving, self._changing = threading.Lock(), threading.Lock()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._trying: float | None = None
        """Since when it tries to say that it is there, as yet in vain."""
        self._fault = ""

    def wait_for_turn(self) -> None:
        """Return when the run is this process's own."""
        self._write()
        numbers = [claim.number or 0 for claim in _all(self.claims).values()]
        self._write(number=1 + max(numbers, default=0))
        self._beating.start()
        threading.Thread(target=self._watch, name="lease watch", daemon=True).start()
        seen: dict[str, tuple[Claim, float]] = {}
        with doing(f"{self.run.uri}: waiting for a sign of the process that was at work on it"):
            while not self._is_first(seen):
                time.sleep(_LOOK_S)

    def leave(self) -> None:
        """Give the run, or the place in its queue, to others."""
        with self._leaving:
            self._left.set()
        if self.lost is not None:  # the claim was removed, or cannot be: others find it unchanged
            return
        with suppress(RuntimeError):  # it was not started
            self._beating.join()
        with suppress(OSError), hurried():  # others find it unchanged
            self.claims.remove(f"{self._claim.id}.json")

    def _is_first(self, seen: dict[str, tuple[Claim, float]]) -> bool:
        """Whether no other process is before this one. `seen` holds each claim, and when it was first seen like this.

        Raises `UserError` if one that is alive is before it.
        """
        claims, now, first = _all(self.claims), _now(), True
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
            self._trying = self._trying or _now()
            try:
                with hurried():
                    claims = _all(self.claims)
                    heirs = [claim.process for claim in claims.values() if self._claim.id in claim.over]
                    if heirs or self._claim.id not in claims:
                        self._lose(
                            f"was taken over by {next(iter(heirs), 'another process')}, because this process was not "
                            f"heard of for {DEAD_S:g} seconds; it stops, and what it has finished is kept"
                        )
                    elif not self._left.is_set():  # a storage that hangs may answer when others are at work
                        self._write(beat=self._claim.beat + 1)
                    self._trying, self._fault = None, ""
            except Exception as error:  # whatever the storage raises, of any kind
                self._fault = " ".join(str(error).split())

    def _watch(self) -> None:
        """Stop this process before others take it for dead. `_beat` cannot: a storage may neither answer nor fail."""
        late = False
        while not self._left.wait(_LOOK_S):
            # It was heard of a beat before. After a pause of its machine it tries for a moment only, as a second look
            # tells, and `_beat` finds out whether it was taken over.
            before, late = late, self._trying is not None and _now() - self._trying > DEAD_S - BEAT_S
            if before and late:
                self._lose(
                    f"may be taken over by another process, because this one could not write its claim for {DEAD_S:g} "
                    f"seconds (the storage: {self._fault or 'no answer'}); it stops, and what it has finished is kept: "
                    "run the same command again when the storage can be reached"
                )

    def _lose(self, why: str) -> None:
        """Interrupt the main thread, unless it has left: what it waits for ends by a signal alone."""
        with self._leaving:
            if not self._left.is_set():
                self._left.set()
                self.lost = why
                signal.pthread_kill(threading.main_thread().ident or 0, _LOST)

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
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # torn
        return Claim(name, "another process")
