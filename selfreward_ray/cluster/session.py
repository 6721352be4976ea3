"""Join a Ray cluster without Ray's own log output: the loop shows its own progress."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
from rich.console import Console

from selfreward_ray.cluster.address import cluster_address, refuse_a_dead_cluster


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the cluster of a job or of RAY_ADDRESS, or start one on this machine. Disconnect at the end.

    A cluster that was started here is stopped at the end; one that was joined continues. Only this driver's output is
    silenced. Raises `UserError` if the cluster accepts no connections.
    """
    address = cluster_address()
    # Ray 2.60 prints an error about every actor pool that may restart. The variable affects only this process and a
    # cluster that it starts.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address != "local":
        refuse_a_dead_cluster(address)
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
