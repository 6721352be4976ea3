"""Copy files of an object store to this node's disk, many parts at a time, and only the missing parts.

A file is written in parts under a hidden name. A journal next to it lists its finished parts, so that a fetch that was
killed can continue. The file gets its final name, and the time of the stored one, when it is complete. If it later has
another size or time, or a header that does not fit its size, it is damaged, and fetched again.

This is safe against killed processes, not against power loss, because nothing is synced to disk. After a power loss
remove the folder. Syncing each part would slow the fetch down to the speed of the disk, which is often below that of
the network, to protect a cache that can be fetched again.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.models.headers import Damaged, check_header
from selfreward_ray.reporting.formatting import size

PART_BYTES = 64 * 2**20
PARTS_AT_A_TIME = 16
"""An object store sends each response at some tens of MB/s, and many at once. The parts in flight take up to 1 GiB."""
_LOOK_AGAIN_S = 1.0
_TIME_STEP_NS = 2 * 10**9
"""Some disks store times no more precisely, and object stores give milliseconds in a listing, else seconds."""

FetchProgress = Callable[[int, int], None]
"""A callback for the number of bytes on this node, and their total."""


def ignore_progress(_here: int, _total: int) -> None:
    """A `FetchProgress` that does nothing."""


def fetch(source: fs.FileSystem, files: Sequence[fs.FileInfo], folder: Path, progress: FetchProgress) -> None:
    """Copy `files`, as listed by `source`, into `folder`. Files that are there and not damaged are not copied again.

    Of several processes on a node one fetches, and the others wait and report its progress. If it dies, another one
    continues. Raises `UserError` if the disk is full or a stored weight file is damaged, and `OSError` if the storage
    fails after its own retries or a file changes during the fetch.
    """
    # Small files first, so that a process that needs only the configuration does not wait for the weights.
    copies = [_Copy(info, folder) for info in sorted(files, key=lambda info: int(info.size))]
    with (folder / ".lock").open("w") as lock:
        damaged = any(copy.is_damaged() for copy in copies)
        while damaged or not all(copy.is_whole() for copy in copies):
            if _try_lock(lock):
                try:
                    for copy in filter(_Copy.is_damaged, copies):
                        copy.path.unlink(missing_ok=True)
                    damaged = False
                    for copy in filter(_Copy.is_whole, copies):
                        copy.journal.unlink(missing_ok=True)  # left by a process killed between rename and unlink
                    _fetch([copy for copy in copies if not copy.is_whole()], source, _Counter(copies, progress))
                finally:
                    fcntl.flock(lock, fcntl.LOCK_UN)
            else:
                _Counter(copies, progress).add(0)
                time.sleep(_LOOK_AGAIN_S)


@dataclass(frozen=True)
class _Copy:
    """The local copy of a stored file, complete or partial."""

    info: fs.FileInfo
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / str(self.info.base_name)

    @property
    def partial(self) -> Path:
        return self.folder / f".{self.info.base_name}.partial"

    @property
    def journal(self) -> Path:
        return self.folder / f".{self.info.base_name}.parts"

    def is_whole(self) -> bool:
        """Whether it has its final name, and size and time of the stored file."""
        try:
            here = self.path.stat()
        except FileNotFoundError:
            return False
        return here.st_size == self.info.size and _same_time(here.st_mtime_ns, self.info.mtime_ns)

    def is_damaged(self) -> bool:
        """Whether it has its final name, and is not what got it."""
        try:
            return self.path.exists() and not (self.is_whole() and self._fault(self.path) is None)
        except FileNotFoundError:  # the process that fetches has just removed it
            return True

    def _fault(self, file: Path) -> str | None:
        """What is wrong with a weight file by its header; None for other files."""
        try:
            if self.info.extension == "safetensors":
                check_header(file, self.info.base_name)
        except Damaged as damaged:
            return str(damaged)
        return None

    def finished(self) -> set[tuple[int, int]]:
        """Begin and end offsets of the finished parts of the partial file."""
        try:
            if self.partial.stat().st_size != self.info.size:  # the full size is allocated before a part is written
                return set()
            lines = self.journal.read_bytes().split(b"\n")
        except FileNotFoundError:  # also if the fetching process has just published the file
            return set()
        noted = set(lines[:-1])  # a killed process may have left an incomplete last line
        return {part for part in self._parts() if b"%d %d" % part in noted}

    def missing(self) -> list[tuple[int, int]]:
        finished = self.finished()
        return [part for part in self._parts() if part not in finished]

    def _parts(self) -> list[tuple[int, int]]:
        size = int(self.info.size)
        return [(begin, min(begin + PART_BYTES, size)) for begin in range(0, size, PART_BYTES)]

    def bytes_here(self) -> int:
        return int(self.info.size) if self.is_whole() else sum(end - begin for begin, end in self.finished())

    @contextmanager
    def opened(self) -> Iterator[tuple[int, int]]:
        """File descriptors of the partial file, allocated at its full size, and of the journal.

        Raises `UserError` if the disk is full, then or when they are written.
        """
        finished = self.finished()
        try:
            with self.journal.open("wb") as journal, self.partial.open("r+b" if finished else "wb") as file:
                for begin, end in finished:  # rewritten, because the last line may be incomplete
                    journal.write(f"{begin} {end}\n".encode())
                journal.flush()
                if self.info.size:
                    os.posix_fallocate(file.fileno(), 0, self.info.size)
                yield file.fileno(), journal.fileno()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"not enough disk space for {self.info.path} ({size(self.info.size)}) in {self.folder}: "
                f"{error.strerror}; free some, or set SELFREWARD_CACHE to a folder on a larger disk"
            ) from None

    def publish(self, source: fs.FileSystem) -> None:
        """Give the file its final name.

        Raises `OSError` if the stored file has changed since it was listed, and `UserError` if it is damaged.
        """
        now = source.get_file_info(self.info.path)
        if now.size != self.info.size or not _same_time(now.mtime_ns, self.info.mtime_ns):
            self.partial.unlink()
            raise OSError(f"{self.info.path} was changed while it was fetched")
        if fault := self._fault(self.partial):
            self.partial.unlink()
            raise UserError(f"{self.info.path} is stored in a damaged form: {fault}")
        if self.info.mtime_ns is not None:
            os.utime(self.partial, ns=(self.info.mtime_ns, self.info.mtime_ns))
        self.partial.rename(self.path)
        self.journal.unlink()


class _Counter:
    """Counts the bytes of `copies` on this node and reports them to `progress`."""

    def __init__(self, copies: Sequence[_Copy], progress: FetchProgress):
        self._here = sum(copy.bytes_here() for copy in copies)
        self._total = sum(int(copy.info.size) for copy in copies)
        self._progress = progress

    def add(self, count: int) -> None:
        self._here += count
        self._progress(self._here, self._total)


def _fetch(copies: list[_Copy], source: fs.FileSystem, counter: _Counter) -> None:
    """Fetch the missing parts of `copies`. The caller holds the folder's lock."""
    counter.add(0)
    missing = [copy.missing() for copy in copies]
    with ExitStack() as stack, ThreadPoolExecutor(PARTS_AT_A_TIME) as pool:
        # Open all files first, so that a disk that is too small is noticed before anything is fetched.
        descriptors = [stack.enter_context(copy.opened()) for copy in copies]
        running: dict[Future[int], int] = {}
        try:
            for number, copy in enumerate(copies):
                if not missing[number]:
                    copy.publish(source)
                    continue
                stored = stack.enter_context(source.open_input_file(copy.info.path))
                for part in missing[number]:
                    running[pool.submit(_fetch_part, copy.info.path, stored, part, *descriptors[number])] = number
            left = [len(parts) for parts in missing]
            for done in as_completed(running):
                counter.add(done.result())
                left[running[done]] -= 1
                if not left[running[done]]:
                    copies[running[done]].publish(source)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_part(path: str, stored: Any, part: tuple[int, int], file: int, journal: int) -> int:
    """Copy a part of the stored file `path` and record it in the journal. Returns its size in bytes."""
    begin, end = part
    data = memoryview(stored.read_at(end - begin, begin))
    if len(data) != end - begin:
        raise OSError(f"storage returned {len(data)} bytes of {path} at offset {begin} instead of {end - begin}")
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], begin + written)
    os.write(journal, f"{begin} {end}\n".encode())
    return written


def _same_time(one: int | None, other: int | None) -> bool:
    """Whether they may be one time, in ns; None is a time that the storage does not know."""
    return one is None or other is None or abs(one - other) < _TIME_STEP_NS


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
