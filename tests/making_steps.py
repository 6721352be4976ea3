"""Processes that make a step, to be started at the same moment."""

import time
from collections.abc import Sequence
from pathlib import Path

from told_process import ToldProcess

from selfreward_ray.store import owner

_MAKES = f"""
import sys
sys.path.insert(0, {str(Path(owner.__file__).parents[2])!r})
from selfreward_ray.errors import UserError
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned_step
from selfreward_ray.store.step import Step
step = Step("propose", sys.argv[1], {{}}, {{}})
print("ready", flush=True)
sys.stdin.readline()
try:
    with owned_step(step.folder):
        if not step.is_done():
            print("held", flush=True)
            sys.stdin.readline()
            step.write([Prompt("p0", "Why?")], Prompt)
            step.finish(offered=1)
    print("done", flush=True)
except UserError as error:
    print(error, flush=True)
"""


class Making(ToldProcess):
    """A process that makes a step: it asks for its folder when it is told to `go`, and ends when told so again."""

    def __init__(self, out: str):
        super().__init__(_MAKES, out)


def one_goes_on(makings: Sequence[Making], owned: str) -> None:
    """Let all begin at once: one makes the step, and the others are refused by its name within seconds."""
    began = time.monotonic()
    for making in makings:
        making.go()
    said = {making.process.pid: making.said() for making in makings}
    took = time.monotonic() - began
    (held,) = [making for making in makings if said.pop(making.process.pid) == "held"]
    for refused in said.values():
        assert refused.startswith(f"{owned} is at work by process {held.process.pid} on ")
        assert " since 2" in refused
    assert took < 60  # 0.1 on a disk, 6 in an object store, where nobody else has the cores
    held.go()
    assert held.said() == "done"
