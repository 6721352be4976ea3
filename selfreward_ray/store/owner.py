"""Who works on a run: one process at a time, by a lock where its folder is on a disk, else by a lease."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyarrow import fs

from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import leased
from selfreward_ray.store.this_process import at_work, this_process

OWNER = "owner.json"


@contextmanager
def owned(run: Folder) -> Iterator[None]:
    """Keep other processes from working on the run. Raises `UserError` if one does.

    The lock is the kernel's, so it ends with its process, however that ends; its file stays.
    """
    path = _file(run)
    if path is None:
        with leased(run):
            yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _lock(file, run)
        file.truncate(0)
        file.write(json.dumps({"process": this_process()}))
        file.flush()
        yield


def check_free(run: Folder) -> None:
    """Raise `UserError` if a process works on the run on a disk; what holds a lease shows in a few seconds only."""
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
            who = str(json.loads(file.read())["process"])
        except (ValueError, KeyError, TypeError):  # it is being written
            who = "another process"
        raise at_work(run, who) from None
