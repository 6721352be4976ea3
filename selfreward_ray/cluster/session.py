"""Join a Ray cluster without Ray's own log output: the loop shows its own progress."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data
from rich.console import Console

from selfreward_ray.cluster.address import LOCAL, cluster_address
from selfreward_ray.cluster.this_machine import check_this_machine
from selfreward_ray.reporting.silence import doing
from selfreward_ray.stopping import end_as_by_ctrl_c


@contextmanager
def joined() -> Iterator[None]:
    """Connect to the cluster of a job or of RAY_ADDRESS, or start one on this machine. Disconnect at the end.

    A cluster that was started here is stopped at the end; one that was joined continues. Only this driver's output is
    silenced. SIGTERM ends the block as Ctrl-C does. Raises `UserError` if the cluster accepts no connections, and if
    this machine cannot hold one.
    """
    address = cluster_address()
    if address == LOCAL:
        check_this_machine()
    # Ray 2.60 prints an error about every actor pool that may restart. The variable affects only this process and a
    # cluster that it starts.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Children of "ray.data", because Ray Data resets the level of that logger for each dataset.
    for quiet in ("progress", "execution", "logging", "logical", "util"):
        logging.getLogger(f"ray.data._internal.{quiet}").setLevel(logging.ERROR)
    end_as_by_ctrl_c()
    try:
        dashboard = _connect(address)
        data = ray.data.DataContext.get_current()
        data.enable_progress_bars = False
        if address == LOCAL:
            data.issue_detectors_config.detectors = []  # they would warn of the engine's memory use, which is intended
        if dashboard:
            Console(stderr=True).print(f"Ray dashboard: http://{dashboard}", highlight=False)
        yield
    finally:
        with _handlers_kept():
            ray.shutdown()


def _connect(address: str) -> str:
    """The address of the dashboard, without a scheme; empty if there is none."""
    with _said_quietly() as said:
        what = "starting Ray on this machine" if address == LOCAL else f"joining the Ray cluster at {address}"
        with doing(what, said), _handlers_kept():
            found = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    return str(found.dashboard_url or "")


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Python's handler of SIGTERM stays, whatever Ray does meanwhile.

    Ray sets handlers of its own, which end the process without a message, and one below Python's, which writes a stack
    and is gone after its shutdown.
    """
    set_handler = signal.signal
    signal.signal = lambda number, _handler: signal.getsignal(number)  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler
        set_handler(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextmanager
def _said_quietly() -> Iterator[Console]:
    """Keep what Ray's libraries write to standard error from it, unless the block fails for a reason that they may
    know. Yields a console that still writes there."""
    sys.stderr.flush()
    kept, heard = os.memfd_create("kept"), os.dup(2)
    os.dup2(kept, 2)
    with os.fdopen(kept, "rb") as said, os.fdopen(heard, "w") as stderr:
        try:
            yield Console(file=stderr)
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno):
                said.seek(0)
                stderr.write(said.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(heard, 2)
