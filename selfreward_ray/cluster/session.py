"""Joining a Ray cluster quietly: the loop shows its own progress, not Ray's log tables."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
from ray._common.network_utils import parse_address
from ray._private.services import get_ray_address_from_environment
from rich.console import Console

from selfreward_ray.errors import UserError


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the cluster of a job or of RAY_ADDRESS, else start one here; leave it at the end.

    A cluster that was started here ends here; one that was joined lives on. Raises `UserError` when the one to join
    takes no connections.
    """
    _refuse_a_dead_cluster()
    # Ray 2.60 prints an error about every actor pool that may restart; the variable is read when Ray starts.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Children of "ray.data": Ray Data sets that logger's own level back at each dataset.
    for quiet in ("progress", "execution", "logging", "logical", "util"):
        logging.getLogger(f"ray.data._internal.{quiet}").setLevel(logging.ERROR)
    context = ray.init(logging_level=logging.ERROR, log_to_driver=False)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    data.issue_detectors_config.detectors = []  # an engine's memory is known and meant
    if context.dashboard_url:
        Console(stderr=True).print(f"Ray dashboard: http://{context.dashboard_url}", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_a_dead_cluster() -> None:
    """Ray itself would try for twenty minutes, without a word, to join a cluster that is gone."""
    try:
        address = get_ray_address_from_environment(None, None)
    except ConnectionError as error:
        raise UserError(f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no Ray cluster runs here: start one") from error
    at = parse_address(address) if address and "://" not in address else None
    if at is None:
        return
    try:
        socket.create_connection((at[0], int(at[1])), timeout=10).close()
    except (OSError, ValueError) as error:  # ValueError: the port is no number
        if os.environ.get("RAY_ADDRESS"):
            remedy = "start it, or unset RAY_ADDRESS to work on this machine alone"
        else:
            remedy = "an earlier `ray start` left its address on this machine, and `ray stop` forgets it"
        raise UserError(f"the Ray cluster at {address} takes no connections ({error}): {remedy}") from error
