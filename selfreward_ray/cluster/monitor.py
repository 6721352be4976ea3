"""The autoscaler's monitor process on the head: its options name the cluster file, its log explains failed launches."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray

T = TypeVar("T")

_LOG_TAIL = 2**20
"""Number of bytes that are read from the end of the log, which may have half a GiB."""


def on_head(function: Callable[[], T]) -> T:
    """Call `function` on the head node of the cluster that this process joined, and return its result."""
    result: T = ray.get(_CALL.remote(function))
    return result


def _call(function: Callable[[], Any]) -> Any:
    return function()


_CALL = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(_call)


def monitor_options(gcs_address: str, processes: Path = Path("/proc")) -> dict[str, str] | None:
    """Command-line options of the monitor process on this node for the cluster at `gcs_address`; None if there is none.

    Every head has one, started by `ray start` or `ray.init`, unless the autoscaler runs elsewhere.
    """
    for process in processes.glob("[0-9]*/cmdline"):
        try:
            command = process.read_text(errors="replace").split("\0")
        except OSError:  # the process has ended
            continue
        if f"--gcs-address={gcs_address}" in command and any(part.endswith("/monitor.py") for part in command):
            options = (part.removeprefix("--").partition("=") for part in command if part.startswith("--"))
            return {name: value for name, _, value in options}
    return None


def launch_errors(log: Path) -> dict[str, str]:
    """The cloud's error message of the newest failed launch, by node type. Ray 2.60's API does not return it.

    Raises `OSError` if the log cannot be read.
    """
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
        text = file.read().decode(errors="replace")
    return dict(re.findall(r"Failed to launch \d+ nodes of type (\S+): (.+)", text))
