"""The rules of this node's cache of fetched models: where it is, how much it may take, and what is removed for another.

Each model has a folder in it, and so have the small files of a model that was fetched without its weights. The file
``.use`` in it says which model that is. A process that uses the model holds a shared lock on that file until it ends,
however it ends. Room for a model is made by removing others that nobody uses, the least recently used first.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyarrow import fs

from selfreward_ray.errors import UserError, recurs
from selfreward_ray.reporting.formatting import size
from selfreward_ray.store.user_cache import cache_folder

DEFAULT_LIMIT = "50%"
"""The rest of the disk is for checkpoints and for what Ray spills."""
PATIENCE_S = 60.0
"""How long room is waited for: processes of the step before may still be ending."""
_LOOK_AGAIN_S = 1.0
_USE = ".use"
_LIMIT = re.compile(r"(\d+(?:\.\d+)?) ?(%|MB|GB|TB)")
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_ELSEWHERE = "set SELFREWARD_CACHE to a folder on a larger disk"

_used_here: dict[Path, IO[str]] = {}
"""The locked files of this process, by their folders."""


@dataclass(frozen=True)
class CachedModel:
    """A folder of the cache."""

    folder: Path
    uri: str
    """Where the model was fetched from; empty if a process was killed before it had written that."""
    files: dict[str, int]
    """Bytes of its files, which may be partial, by their paths."""
    planned: int
    """Bytes that it has when it is complete."""
    used_at: float
    """When a process began to use it, in seconds since 1970."""
    in_use: bool

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def reserved(self) -> int:
        """Bytes that it takes, or will take when it is complete."""
        return max(self.planned, self.bytes)


def claim(uri: str, files: Sequence[fs.FileInfo]) -> Path:
    """The folder for `files` of the model `uri`, with enough room to fetch those that are missing.

    Nobody removes it before this process ends. Another size or time of one of the files makes it another folder. Raises
    `UserError` if the limit or the disk is too small, or the cache cannot be written, and `OSError` for what may pass:
    models that are in use, or a fault of the disk.
    """
    root = _place()
    key = "\n".join([uri, *(f"{info.path} {info.size} {info.mtime_ns}" for info in files)])
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:24]
    total = sum(int(info.size) for info in files)
    end = time.monotonic() + PATIENCE_S
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            with _locked(root):
                lack = _make_room(folder, total, f"model {uri!r} ({size(total)})")
                if lack is None:
                    _begin_use(folder, uri, total)
                    return folder
            if lack.is_final:
                raise UserError(lack.message)
            if time.monotonic() > end:  # others may be done with their models when the process is started again
                raise OSError(errno.EBUSY, lack.message)
            time.sleep(_LOOK_AGAIN_S)
    except (FileExistsError, NotADirectoryError):
        file = next(path for path in (folder, *folder.parents) if os.path.lexists(path) and not path.is_dir())
        raise UserError(
            f"cannot create the folder {folder}: {file} is a file; set SELFREWARD_CACHE to a folder"
        ) from None
    except OSError as error:
        if not recurs(error) and error.errno != errno.ENOLCK:
            raise
        raise UserError(
            f"cannot write into the cache of models: {error.filename or root}: {error.strerror}; set SELFREWARD_CACHE "
            "to a folder that can be written"
        ) from None


def cached_models() -> list[CachedModel]:
    """What is in the cache of this machine; nothing if there is none."""
    return [_read(mark.parent) for mark in _place().glob(f"*/{_USE}")]


def remove(folder: Path) -> bool:
    """Remove a folder of the cache. Returns False, and removes nothing, if a process uses it."""
    with _locked(folder.parent):
        if (folder / _USE).exists() and not _is_used(folder):
            _remove(folder)
            return True
    return False


@dataclass(frozen=True)
class _Lack:
    """Why there is no room for a model."""

    message: str
    is_final: bool
    """Whether it would not fit even if no other model were in use."""


def _make_room(folder: Path, total: int, model: str) -> _Lack | None:
    """Remove models until `total` bytes fit into `folder`. If that is not possible, none is removed.

    `model` is how messages name it. The caller has locked the cache.
    """
    here = _read(folder)
    if here.in_use or here.bytes >= total:  # who uses it has made room for all of it
        return None
    others = [other for other in cached_models() if other.folder != folder]
    used = [other for other in others if other.in_use]
    idle = sorted((other for other in others if not other.in_use), key=lambda other: other.used_at)
    disk = shutil.disk_usage(folder.parent)
    limit = _limit(disk.total)
    kept = sum(other.reserved for other in used)
    removable = sum(other.bytes for other in idle)
    free = disk.free - (kept - sum(other.bytes for other in used))
    missing = total - here.bytes
    beside = f", beside models that are in use ({size(kept)})" if used else ""
    if kept + total > limit:
        return _Lack(
            f"{model} exceeds the limit of the cache {folder.parent}, {size(limit)}{beside}; raise "
            f"SELFREWARD_CACHE_LIMIT, a size (200GB) or a share of the disk (80%), or {_ELSEWHERE}",
            is_final=total > limit,
        )
    if missing > free + removable:
        return _Lack(
            f"not enough disk space for {model} in {folder.parent}: {size(max(free + removable, 0))} would be free "
            f"without unused models{beside}; free some, or {_ELSEWHERE}",
            is_final=missing > free + removable + kept,
        )
    excess = max(kept + removable + total - limit, missing - free)
    for other in idle:
        if excess > 0:
            _remove(other.folder)
            excess -= other.bytes
    return None


def _begin_use(folder: Path, uri: str, total: int) -> None:
    """Lock the folder for as long as this process lives. The caller has locked the cache."""
    folder.mkdir(exist_ok=True)
    if folder not in _used_here or not (folder / _USE).exists():  # somebody may have removed the cache
        mark = (folder / _USE).open("a+", encoding="utf-8")
        fcntl.flock(mark, fcntl.LOCK_SH)
        _used_here[folder] = mark
        mark.truncate(0)
        mark.write(json.dumps({"model": uri, "bytes": total}))
        mark.flush()
    os.utime(folder / _USE)


def _read(folder: Path) -> CachedModel:
    """A folder of the cache as it is now; empty if there is none. Other processes may be writing in it."""
    files: dict[str, int] = {}
    uri, planned, used_at, in_use = "", 0, 0.0, False
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.name != _USE:
                with suppress(FileNotFoundError):  # it has just got its final name
                    files[str(path)] = path.stat().st_size
        in_use = _is_used(folder)
        used_at = (folder / _USE).stat().st_mtime
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads((folder / _USE).read_text(encoding="utf-8"))
            uri, planned = str(said["model"]), int(said["bytes"])
    return CachedModel(folder, uri, files, planned, used_at, in_use)


def _is_used(folder: Path) -> bool:
    if folder in _used_here:  # on NFS, to open and close the file again would give up its lock
        return True
    try:
        with (folder / _USE).open("r+", encoding="utf-8") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second: it is another user's
        return True
    return False


def _remove(folder: Path) -> None:
    """The mark last: what is left by a process that is killed meanwhile is still known."""
    for path in folder.iterdir():
        if path.name != _USE:
            path.unlink()
    shutil.rmtree(folder)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """While room is made, or a use begins: each takes moments."""
    with (root / ".lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also for children, which have inherited it


def _place() -> Path:
    folder = cache_folder()
    if folder is None:
        raise UserError("there is no home folder for the cache of models; set SELFREWARD_CACHE to a folder")
    return folder


def _limit(disk: int) -> int:
    """Bytes that the cache may take on a disk of that size."""
    text = os.environ.get("SELFREWARD_CACHE_LIMIT", "").strip() or DEFAULT_LIMIT
    found = _LIMIT.fullmatch(text)
    if found is None or (found[2] == "%" and float(found[1]) > 100):
        raise UserError(
            f"SELFREWARD_CACHE_LIMIT is {text!r}; set it to a size, such as 200GB, or a share of the disk, such as 80%"
        )
    number, unit = float(found[1]), found[2]
    return int(number / 100 * disk if unit == "%" else number * _BYTES[unit])
