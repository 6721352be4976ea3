"""Joining a Ray cluster quietly: the loop shows its own progress, not Ray's log tables."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
from rich.console import Console


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the cluster of a job or of RAY_ADDRESS, else start one here; leave it at the end.

    A cluster that was started here ends here; one that was joined lives on.
    """
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.init(logging_level=logging.ERROR, log_to_driver=False)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    if context.dashboard_url:
        Console(stderr=True).print(f"Ray dashboard: http://{context.dashboard_url}", highlight=False)
    try:
        yield
    finally:
        ray.shutdown()
