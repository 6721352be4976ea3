"""One process at a time works on a run in a store without locks. The store here is a disk, which does for it."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from told_process import ToldProcess

from selfreward_ray.errors import UserError
from selfreward_ray.store import lease
from selfreward_ray.store.folder import Folder

BEAT_S, DEAD_S = 0.2, 1.0
ALIVE_S = 120.0
"""In the place of `DEAD_S` where the other process is alive: other tests may have the cores for seconds."""

_WATCH = lease._Owner._watch

HOLDS = f"""
import sys, time
sys.path.insert(0, {str(Path(lease.__file__).parents[2])!r})
from selfreward_ray.errors import UserError
from selfreward_ray.store import lease
from selfreward_ray.store.folder import Folder
lease.BEAT_S, lease.DEAD_S, lease._LOOK_S = {BEAT_S}, {ALIVE_S}, 0.05
print("ready", flush=True)
sys.stdin.readline()
try:
    with lease.leased(Folder(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
        while "wait" in sys.argv:
            time.sleep(60)
    print("left", flush=True)
except UserError as error:
    print(error, flush=True)
"""


class Other(ToldProcess):
    """Another process, which asks for the run when it is told to `go`, and leaves it when told so again."""

    def __init__(self, run: Folder, *arguments: str):
        super().__init__(HOLDS, run.uri, *arguments)

    def hold_and_pause(self) -> None:
        """Have the run, wait for nothing, and stand still."""
        self.go()
        assert self.said() == "held"
        self.go()
        self.process.send_signal(signal.SIGSTOP)


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", BEAT_S)
    monkeypatch.setattr(lease, "DEAD_S", DEAD_S)
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)
    # Others may have the cores for longer than these times: only tests with a clock of their own look at it.
    monkeypatch.setattr(lease._Owner, "_watch", lambda _: None)


@pytest.fixture
def others(run: Folder, request: pytest.FixtureRequest) -> Iterator[list[Other]]:
    made = [Other(run, *arguments) for arguments in getattr(request, "param", [()])]
    yield made
    for other in made:
        other.end()


def test_a_second_process_is_refused_with_the_first_ones_name(
    run: Folder, others: list[Other], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "DEAD_S", ALIVE_S)
    (first,) = others
    first.go()
    assert first.said() == "held"
    with pytest.raises(UserError) as refused, lease.leased(run):
        pass
    assert str(refused.value).startswith(f"{run.uri} is at work by process {first.process.pid} on ")
    first.go()
    assert first.said() == "left"
    with lease.leased(run):
        assert len((run / lease.CLAIMS).files()) == 1
    assert (run / lease.CLAIMS).files() == []


@pytest.mark.parametrize("others", [[()] * 3], indirect=True)
def test_of_several_at_the_same_moment_one_goes_on(run: Folder, others: list[Other]):
    for other in others:
        other.go()
    said = [other.said() for other in others]
    assert said.count("held") == 1
    assert sum(line.startswith(f"{run.uri} is at work by process ") for line in said) == 2


def test_the_claim_of_a_killed_process_expires(run: Folder, others: list[Other]):
    (killed,) = others
    killed.go()
    assert killed.said() == "held"
    killed.end()
    began = time.monotonic()
    with lease.leased(run):
        assert time.monotonic() - began > DEAD_S
        (claim,) = (run / lease.CLAIMS).files()
        assert len(json.loads(Path(claim).read_text())["over"]) == 1


@pytest.mark.parametrize("others", [[("wait",)]], indirect=True)
def test_a_process_that_was_taken_for_dead_stops(run: Folder, others: list[Other]):
    (paused,) = others
    paused.hold_and_pause()
    with lease.leased(run):
        paused.process.send_signal(signal.SIGCONT)
        assert paused.said().startswith(f"{run.uri} was taken over by process {os.getpid()} on ")


def test_a_process_in_the_background_stops_too(run: Folder):
    """A shell lets what it starts there ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        paused = Other(run, "wait")
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        test_a_process_that_was_taken_for_dead_stops(run, [paused])
    finally:
        paused.end()


@pytest.mark.parametrize("others", [[("wait",)]], indirect=True)
def test_a_process_whose_heir_has_left_stops_too(run: Folder, others: list[Other]):
    (paused,) = others
    paused.hold_and_pause()
    with lease.leased(run):
        pass
    paused.process.send_signal(signal.SIGCONT)
    assert paused.said().startswith(f"{run.uri} was taken over by another process, ")


@pytest.mark.parametrize(
    "torn",
    [
        '{"process": "p", "number": {"a": 1}, "beat": 1, "over": []}',
        "",
        "{",
        "[]",
        "{}",
        '{"process": 1, "number": "a", "beat": null, "over": 3}',
    ],
)
def test_a_torn_claim_is_that_of_a_dead_process(run: Folder, torn: str):
    (run / lease.CLAIMS).write_bytes("0.json", torn.encode())
    with lease.leased(run):
        assert len((run / lease.CLAIMS).files()) == 1


class CutOff:
    """Between this process and the storage; time passes as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(lease._Owner, "_watch", _WATCH)
        self.now = 1000.0
        self.hangs = False
        self.reached = threading.Event()
        self.reached.set()
        self._tried = threading.Semaphore(0)
        listed = lease._all

        def looked(claims: Folder) -> dict[str, lease.Claim]:
            if not self.reached.is_set():
                self._tried.release()
                if not self.hangs:
                    raise OSError("no route to host")
                self.reached.wait(60)
            return listed(claims)

        monkeypatch.setattr(lease, "_all", looked)
        monkeypatch.setattr(lease, "_now", lambda: self.now)

    def begin(self) -> None:
        """Return when the process has tried to reach the storage."""
        self.reached.clear()
        assert self._tried.acquire(timeout=60)

    def end(self, claim: Path) -> None:
        """Return when the process has written its claim."""
        before = claim.read_text()
        self.reached.set()
        end = time.monotonic() + 60
        while claim.read_text() == before:
            assert time.monotonic() < end
            time.sleep(BEAT_S)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(3 * lease._LOOK_S)


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> CutOff:
    return CutOff(monkeypatch)


@pytest.mark.parametrize(("hangs", "fault"), [(False, "no route to host"), (True, "no answer")])
def test_a_process_that_is_cut_off_stops_before_another_may_take_over(
    run: Folder, cut_off: CutOff, hangs: bool, fault: str
):
    def work() -> None:
        with lease.leased(run) as is_owner:
            cut_off.begin()
            cut_off.passes(DEAD_S - BEAT_S)
            assert is_owner()
            try:
                cut_off.passes(0.01)
                time.sleep(60)
            finally:
                assert not is_owner()

    cut_off.hangs = hangs
    with pytest.raises(UserError) as stopped:
        work()
    assert str(stopped.value).startswith(
        f"{run.uri} may be taken over by another process, because this one could not write its claim for 1 seconds "
        f"(the storage: {fault}); it stops, "
    )
    (claim,) = map(Path, (run / lease.CLAIMS).files())  # for others to find it unchanged
    left = claim.read_text()
    cut_off.reached.set()
    time.sleep(3 * BEAT_S)
    assert claim.read_text() == left


def test_a_storage_that_fails_for_a_while_ends_nothing(run: Folder, cut_off: CutOff):
    with lease.leased(run) as is_owner:
        (claim,) = map(Path, (run / lease.CLAIMS).files())
        for _ in range(2):
            cut_off.begin()
            cut_off.passes(DEAD_S - BEAT_S)
            cut_off.end(claim)
        assert is_owner()


@pytest.mark.parametrize("trying", [False, True])
def test_a_pause_is_not_taken_for_a_storage_that_fails(
    run: Folder, cut_off: CutOff, trying: bool, monkeypatch: pytest.MonkeyPatch
):
    """Whether it comes between two beats, or while the storage is asked."""
    monkeypatch.setattr(lease, "_LOOK_S", 1.0)
    with lease.leased(run) as is_owner:
        (claim,) = map(Path, (run / lease.CLAIMS).files())
        if trying:
            cut_off.hangs = True
            cut_off.begin()
        cut_off.now += 100 * DEAD_S
        cut_off.end(claim)
        cut_off.passes(0)
        assert is_owner()


def test_nobody_is_taken_for_dead_while_the_storage_was_away(run: Folder, monkeypatch: pytest.MonkeyPatch):
    """Looks at the claim of another process half a beat apart, of which one took an hour."""
    owner, now = lease._Owner(run), 0.0
    owner._claim = lease.Claim("mine", "this process", 2)
    there = {"first": lease.Claim("first", "another", 1)}
    monkeypatch.setattr(lease, "_all", lambda _claims: dict(there))
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: now))
    owner._looked, seen = 0.0, {}
    for wait in (0.0, BEAT_S / 2, 3600.0, BEAT_S / 2):
        now += wait
        assert not owner._is_first(seen)
    assert (run / lease.CLAIMS).files() == []  # where it would say that it has removed the claim
    now += BEAT_S / 2
    there["first"] = lease.Claim("first", "another", 1, beat=1)
    with pytest.raises(UserError, match="is at work by another"):
        owner._is_first(seen)


def test_ctrl_c_is_no_loss_and_leaves_no_claim(run: Folder):
    with pytest.raises(KeyboardInterrupt), lease.leased(run):
        raise KeyboardInterrupt
    assert (run / lease.CLAIMS).files() == []
