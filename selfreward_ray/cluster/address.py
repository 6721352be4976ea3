"""Where the Ray cluster is that a command would join. Does not import Ray."""

import os
import socket
from pathlib import Path

from selfreward_ray.errors import UserError


def cluster_address() -> str:
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


def refuse_a_dead_cluster(address: str) -> None:
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
