"""The autoscaler's process on the head: its options say what it may start, its log why something did not start."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray

T = TypeVar("T")

_LOG_TAIL = 2**20
"""Bytes of the log's end that are read; a log may have half a GiB."""


def on_head(function: Callable[[], T]) -> T:
    """What `function` returns on the head of the cluster that this process joined."""
    result: T = ray.get(_CALL.remote(function))
    return result


def _call(function: Callable[[], Any]) -> Any:
    return function()


_CALL = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(_call)


def monitor_options(gcs_address: str, processes: Path = Path("/proc")) -> dict[str, str] | None:
    """Options of the monitor process that serves the cluster at `gcs_address` from this node; None where there is none.

    Every head has one, whether started by `ray start` or by `ray.init`, unless its autoscaler runs elsewhere.
    """
    for process in processes.glob("[0-9]*/cmdline"):
        try:
            command = process.read_text(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if f"--gcs-address={gcs_address}" in command and any(part.endswith("/monitor.py") for part in command):
            options = (part.removeprefix("--").partition("=") for part in command if part.startswith("--"))
            return {name: value for name, _, value in options}
    return None


def launch_errors(log: Path) -> dict[str, str]:
    """By node type, what the cloud said when the newest launch failed; Ray 2.60 says no more than that it did.

    Raises `OSError` where there is no log.
    """
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
        text = file.read().decode(errors="replace")
    return dict(re.findall(r"Failed to launch \d+ nodes of type (\S+): (.+)", text))
