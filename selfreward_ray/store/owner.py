"""Who works on a run: one process at a time, where its folder is on a disk."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder

OWNER = "owner.json"


@contextmanager
def owned(run: Folder) -> Iterator[None]:
    """Keep other processes from working on the run. Raises `UserError` if one does.

    The lock is the kernel's, so it ends with its process, however that ends; its file stays. Object stores have none.
    """
    path = _file(run)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _lock(file, run)
        file.truncate(0)
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        file.write(json.dumps(owner))
        file.flush()
        yield


def check_free(run: Folder) -> None:
    """Raise `UserError` if a process works on the run."""
    path = _file(run)
    if path is not None and path.exists():
        with path.open("r+", encoding="utf-8") as file:
            _lock(file, run)


def _file(run: Folder) -> Path | None:
    filesystem, path = run.filesystem()
    return Path(path) / OWNER if isinstance(filesystem, fs.LocalFileSystem) else None


def _lock(file: IO[str], run: Folder) -> None:
    """Until `file` is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        try:
            owner = json.loads(file.read())
            who = f"process {owner['process']} on {owner['host']} since {owner['since']}"
        except (ValueError, KeyError, TypeError):  # it is being written
            who = "another process"
        raise UserError(f"{run.uri} is at work by {who}; wait until that has ended, or stop it") from None
