"""Joining a Ray cluster quietly: the loop shows its own progress, not Ray's log tables."""

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
    """Connect to the cluster of a job or of RAY_ADDRESS, else start one here; leave it at the end.

    A cluster that was started here ends here; one that was joined lives on, and nothing but this driver is made quiet.
    Raises `UserError` when the one to join takes no connections.
    """
    address = _address()
    # Ray 2.60 prints an error about every actor pool that may restart. Only this process reads the variable, and those
    # of a cluster that it starts.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address != "local":
        _refuse_a_dead_cluster(address)
    # Children of "ray.data": Ray Data sets that logger's own level back at each dataset.
    for quiet in ("progress", "execution", "logging", "logical", "util"):
        logging.getLogger(f"ray.data._internal.{quiet}").setLevel(logging.ERROR)
    context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    if address == "local":
        data.issue_detectors_config.detectors = []  # an engine's memory is known and meant
    if context.dashboard_url:
        Console(stderr=True).print(f"Ray dashboard: http://{context.dashboard_url}", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()


def _address() -> str:
    """Where `ray.init` would find a cluster: RAY_ADDRESS, else what the last `ray start` of this machine left behind.

    ``local`` where there is none.
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
    """Ray itself would try for twenty minutes, without a word, to join a cluster that is gone."""
    if "://" in address:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:  # ValueError: the port is no number
        if os.environ.get("RAY_ADDRESS"):
            remedy = "start it, or unset RAY_ADDRESS to work on this machine alone"
        else:
            remedy = "an earlier `ray start` left its address on this machine, and `ray stop` forgets it"
        raise UserError(f"the Ray cluster at {address} takes no connections ({error}): {remedy}") from error
