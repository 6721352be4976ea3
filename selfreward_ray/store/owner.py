"""Who works on a run, or on a step of no run: one process at a time, by a lock where its folder is on a disk that has
locks, else by a lease."""

import errno
import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from pyarrow import fs

from selfreward_ray.store.attempt import ATTEMPT
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.lease import CLAIMS, holder, leased
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.this_process import at_work, this_process

OWNER = "owner.json"
MARKS = frozenset({OWNER, CLAIMS})
"""What an owner writes into the folder; the rest is what the folder holds."""
_LOOKS = 3
"""How often a process tries to have the lock: another one that only looks holds it for a moment."""


@contextmanager
def owned(run: Folder) -> Iterator[Callable[[], bool]]:
    """Keep other processes from working on the run. Raises `UserError` if one does. Gives a function that says whether
    the run is still this process's.

    The lock is the kernel's, so it ends with its process, however that ends. An owner that is not killed removes its
    file, and folders that it has made and nothing was written to.
    """
    path = _file(run)
    if path is None:
        with leased(run) as is_owner:
            yield is_owner
        return
    made = [folder for folder in path.parents if not folder.exists()]
    with _locked(path, run) as file:
        file.truncate(0)
        file.write(json.dumps({"process": this_process()}))
        file.flush()
        try:
            yield lambda: True
        finally:
            with suppress(OSError):
                if _is_at(path, file):  # the folder may have been removed, and be another one's now
                    path.unlink()
                for folder in made:
                    folder.rmdir()


def owned_step(step: Folder) -> AbstractContextManager[object]:
    """Keep other processes from writing the folder of a step that is not a part of this process's run.

    In a run's folder the whole run is owned, so that neither that run nor another step of it begins beside this one. A
    finished step is not written, and so nobody owns it: to say so takes no time. Raises `UserError` as `owned` does.
    """
    return nullcontext() if read_manifest(step) is not None else owned(_run_around(step) or step)


def owner_of(run: Folder) -> str | None:
    """Who works on the run; None if nobody does. In an object store it takes some seconds to tell."""
    path = _file(run)
    if path is None:
        return holder(run)
    with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
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
    """The file to lock; None in an object store, and on a disk without locks."""
    filesystem, path = run.filesystem()
    return Path(path) / OWNER if isinstance(filesystem, fs.LocalFileSystem) and _has_locks(Path(path)) else None


def _has_locks(folder: Path) -> bool:
    """Whether the kernel locks files of the folder's disk. Some that are shared by machines are mounted without."""
    there = next(above for above in (folder, *folder.parents) if above.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as file:  # folders are locked also where files cannot be
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # a folder that cannot be written to says nothing of locks
        return error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
    return True


def _run_around(step: Folder) -> Folder | None:
    """The run that the step's folder is in, which the name of one of its models tells (``RUN/M2/pairs``)."""
    above = same_place(step.uri)
    while named := re.match(r"(.+[^:/])/M\d+(?=/|$)", above):
        above = named[1]
        with suppress(OSError):  # credentials may be for the step's folder alone
            if Folder(above).is_file(ATTEMPT):
                return Folder(above)
    return None


def _locked(path: Path, run: Folder) -> IO[str]:
    """The file at `path`, locked until it is closed."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as closing:
            file = closing.enter_context(path.open("a+", encoding="utf-8"))
            _lock(file, run)
            if _is_at(path, file):  # the owner before may have removed it since
                closing.pop_all()
                return file


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether the open file is the one that is at `path` now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


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
