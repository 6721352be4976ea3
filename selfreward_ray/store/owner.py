"""Who works on a run: one process at a time, by a lock where its folder is on a disk, else by a lease."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyarrow import fs

from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import holder, leased
from selfreward_ray.store.this_process import at_work, this_process

OWNER = "owner.json"
_LOOKS = 3
"""How often a process tries to have the lock: another one that only looks holds it for a moment."""


@contextmanager
def owned(run: Folder) -> Iterator[Callable[[], bool]]:
    """Keep other processes from working on the run. Raises `UserError` if one does. Gives a function that says whether
    the run is still this process's.

    The lock is the kernel's, so it ends with its process, however that ends; its file stays.
    """
    path = _file(run)
    if path is None:
        with leased(run) as is_owner:
            yield is_owner
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _lock(file, run)
        file.truncate(0)
        file.write(json.dumps({"process": this_process()}))
        file.flush()
        yield lambda: True


def owner_of(run: Folder) -> str | None:
    """Who works on the run; None if nobody does. In an object store it takes some seconds to tell."""
    path = _file(run)
    if path is None:
        return holder(run)
    if path.exists():
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _written(file)
    return None


def check_free(run: Folder) -> None:
    """Raise `UserError` if a process works on the run on a disk. A lease is not looked at: that takes seconds."""
    if _file(run) is not None and (process := owner_of(run)) is not None:
        raise at_work(run, process)


def _file(run: Folder) -> Path | None:
    filesystem, path = run.filesystem()
    return Path(path) / OWNER if isinstance(filesystem, fs.LocalFileSystem) else None


def _lock(file: IO[str], run: Folder) -> None:
    """Until `file` is closed."""
    for look in range(_LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.05 if look < _LOOKS - 1 else 0)
    raise at_work(run, _written(file))


def _written(file: IO[str]) -> str:
    """Who has written the file."""
    file.seek(0)
    try:
        return str(json.loads(file.read())["process"])
    except (ValueError, KeyError, TypeError):  # it is being written
        return "another process"
