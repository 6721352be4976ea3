"""Digests of the files of inputs that no step wrote, kept in the user's cache: only the first command reads a file.

They are known by the place of the input, and each by its file's path, size and time of modification. Nothing is written
beside the files, which may be another's.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from selfreward_ray.store.folder import FILES_AT_A_TIME
from selfreward_ray.store.user_cache import cache_folder

_FRESH_NS = 10 * 10**9
"""A file may be written again within the resolution of its time, a second in an object store. A digest is therefore
kept only of a file that was not changed for so long before it was read."""


def known_digests(place: str, files: Sequence[fs.FileInfo], read: Callable[[fs.FileInfo], str]) -> list[str]:
    """The digest of each of the `files` of the input at `place`, by `read` if it is not known. Without a cache that can
    be written to, all are read."""
    kept = (cache_folder() or Path(os.devnull)) / "digests" / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.json"
    keys = {f"{info.path} {info.size} {info.mtime_ns}": info for info in files}
    known = {key: digest for key, digest in _read(kept).items() if key in keys}
    unknown = {key: info for key, info in keys.items() if key not in known}
    before = time.time_ns()
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        found = dict(zip(unknown, pool.map(read, unknown.values()), strict=True))
    lasting = {key: found[key] for key, info in unknown.items() if (info.mtime_ns or before) < before - _FRESH_NS}
    if lasting:
        with suppress(OSError):
            _write(kept, known | lasting)
    digests = known | found
    return [digests[key] for key in keys]


def _read(path: Path) -> dict[str, str]:
    """The digests that an earlier command kept; none if they are damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(digest, str) for digest in kept.values()) else {}


def _write(path: Path, digests: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")  # a rename is atomic
    partial.write_text(json.dumps(digests), encoding="utf-8")
    partial.replace(path)
