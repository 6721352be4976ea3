"""Whether Ray can start on this machine. Imports no Ray, so that a check can ask it."""

import os
from datetime import datetime
from pathlib import Path

from selfreward_ray.cluster.address import temporary_folder
from selfreward_ray.errors import UserError

_LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket, a limit of Linux."""


def check_this_machine() -> None:
    """Raise `UserError` if Ray cannot start on this machine, for reasons of which it tells by a traceback."""
    folder = temporary_folder()
    session = f"session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}"
    socket = os.fsencode(f"{folder}/ray/{session}/sockets/plasma_store")
    if len(socket) > _LONGEST_SOCKET:
        name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
        raise UserError(
            f"{name}={folder} is too long for the paths of Ray's sockets, which would have {len(socket)} of at most "
            f"{_LONGEST_SOCKET} bytes: set RAY_TMPDIR to a shorter folder, for example RAY_TMPDIR=/tmp"
        )
    place = Path(folder) / "ray"
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise UserError(
            f"{there} cannot be written to, where Ray keeps its sockets and logs: set RAY_TMPDIR to another folder "
            "with a short path"
        )
    shared = Path("/dev/shm")  # noqa: S108 - the memory that processes share, and no temporary file
    if not os.access(shared, os.W_OK):
        raise UserError(
            f"this machine has no {shared} to write to, in which Ray and the engines share memory: mount a tmpfs there "
            "(in Docker --shm-size=8g, in Kubernetes an emptyDir of medium Memory)"
        )
