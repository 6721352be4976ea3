"""Join a Ray cluster without Ray's own log output: the loop shows its own progress."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.data
from rich.console import Console

from selfreward_ray.errors import UserError


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the cluster of a job or of RAY_ADDRESS, or start one on this machine. Disconnect at the end.

    A cluster that was started here is stopped at the end; one that was joined continues. Only this driver's output is
    silenced. Raises `UserError` if the cluster accepts no connections.
    """
    address = _address()
    # Ray 2.60 prints an error about every actor pool that may restart. The variable affects only this process and a
    # cluster that it starts.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address != "local":
        _refuse_a_dead_cluster(address)
    # Children of "ray.data", because Ray Data resets the level of that logger for each dataset.
    for quiet in ("progress", "execution", "logging", "logical", "util"):
        logging.getLogger(f"ray.data._internal.{quiet}").setLevel(logging.ERROR)
    context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    if address == "local":
        data.issue_detectors_config.detectors = []  # they would warn of the engine's memory use, which is intended
    if context.dashboard_url:
        Console(stderr=True).print(f"Ray dashboard: http://{context.dashboard_url}", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()


def _address() -> str:
    """The address at which `ray.init` would find a cluster: RAY_ADDRESS, or that of the last `ray start` here.

    ``local`` if there is none.
    """
    wanted = os.environ.get("RAY_ADDRESS")
    if wanted and wanted != "auto":
        return wanted
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own order
    left = Path(temporary) / "ray" / "ray_current_cluster"
    if left.exists():
        return left.read_text(encoding="utf-8").strip()
    if wanted:
        raise UserError(f"RAY_ADDRESS={wanted}: no Ray cluster runs here: start one")
    return "local"


def _refuse_a_dead_cluster(address: str) -> None:
    """Raise `UserError` if no cluster answers at `address`. Ray itself would retry silently for twenty minutes."""
    if "://" in address:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:  # ValueError: the port is not a number
        if os.environ.get("RAY_ADDRESS"):
            remedy = "start it, or unset RAY_ADDRESS to work on this machine alone"
        else:
            remedy = "an earlier `ray start` left its address on this machine, and `ray stop` forgets it"
        raise UserError(f"the Ray cluster at {address} takes no connections ({error}): {remedy}") from error
