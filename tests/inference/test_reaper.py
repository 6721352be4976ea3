"""Real processes: when a child ends, in any way, its own children end too."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from selfreward_ray.inference import reaper

ROOT = Path(reaper.__file__).parents[2]
CHILD = """
import os, signal, subprocess, sys, time
from selfreward_ray.inference.reaper import bind_children

bind_children()
running, stopped = (subprocess.Popen(["sleep", "1000"]) for _ in range(2))
stopped.send_signal(signal.SIGSTOP)
forked = os.fork() or time.sleep(1000)
print(running.pid, stopped.pid, forked, flush=True)
exec(sys.stdin.readline())
time.sleep(1000)
"""


class Child:
    """A child that called `bind_children`, and its three children: one running, one stopped, one forked."""

    def __init__(self, leads: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", CHILD],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=leads,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._say, self._hear = self.process.stdin, self.process.stdout
        self.children = [int(pid) for pid in self.hear().split()]

    def hear(self) -> str:
        return self._hear.readline().strip()

    def do(self, what: str) -> None:
        """A line of Python."""
        self._say.write(what + "\n")
        self._say.flush()

    def alive(self) -> list[int]:
        return [pid for pid in self.children if state(pid) not in "ZX"]


def state(pid: int) -> str:
    """R, S, T, ...; Z and X: it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@pytest.fixture(params=[False, True], ids=["in-our-group", "leads-a-group"])
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    made = Child(leads=request.param)
    yield made
    for pid in (made.process.pid, *made.alive()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    made.process.communicate()


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "sys.exit()"])
def test_all_children_end_with_it(child: Child, how: str):
    assert len(child.alive()) == 3
    child.do(how)
    child.process.wait(timeout=5)
    until = time.monotonic() + 5
    while child.alive() and time.monotonic() < until:
        time.sleep(0.02)
    assert child.alive() == []


def test_it_lives_in_a_group_of_its_own_as_long_as_it_wants(child: Child):
    child.do("import gc; gc.collect(); time.sleep(0.2); print('alive', flush=True)")
    assert child.hear() == "alive"
    assert child.process.poll() is None
    assert len(child.alive()) == 3
    assert {os.getpgid(pid) for pid in child.children} == {child.process.pid} != {os.getpgid(0)}
