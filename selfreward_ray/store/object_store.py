"""Object stores as pyarrow opens them, one client per process, without the folders that pyarrow makes up there.

An object store has names and no folders. pyarrow writes an empty object for each folder above one that is created,
which credentials for one prefix may not do. Such credentials also meet S3's answer to a name that is not there: it is
"access denied", because the store tells what is not there only to those who may list the whole bucket.

A store that throttles, fails or is away is asked again by its client. Here alone it is said for how long.
"""

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from pyarrow import fs

from selfreward_ray.reporting.silence import waiting

T = TypeVar("T")

RETRIES = 9
"""How often S3 is asked again, after delays that double from 50 ms on: for 25 seconds in all. Much longer would not
help: a driver that cannot write its claim for 30 seconds stops (`lease`)."""
CONNECT_S, ANSWER_S = 10.0, 20.0
"""Seconds after which an attempt without a connection, or without a byte, is given up."""
PATIENCE_S = 120
"""For how long Google's client asks again. Azure's has a rule of its own, which pyarrow does not let us set."""
COPIED_AT_ONCE = 5 * 10**9
"""Bytes that S3 copies by one request."""
_COPY_BYTES = 2**26

_FEW = 2
_retries: ContextVar[int] = ContextVar("retries")
"""In the place of `RETRIES`."""

_REMOVED_AT_A_TIME = 16
_URI = re.compile(
    r"((?:s3|gs|gcs|abfss?(?=://[^/?]*@))://[^/?]+)"  # elsewhere the path begins with Azure's container
    r"((?:/(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*)/?"
    r"(\?.*)?",
    re.ASCII,
)
"""Bucket, path and options of a URI whose path pyarrow would take as it is; what it cuts or refuses is left to it."""
_SMALL_WRITES = "allow_delayed_open"
"""With this option S3's client sends a small object by one request, and not by three."""
_GOOGLE = "retry_limit_seconds"
_PATIENT, _OTHERS = ("AWS Error", "google::cloud::Status"), ("Azure Error",)
"""In the messages of object stores' clients: of those that ask again for minutes, and of others."""
_REMEDIES = {
    r"EXPIRED|ExpiredToken|UNAUTHENTICATED|HTTP status 40[01]": "renew your credentials, and check the bucket's region",
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|INVALID_CLIENT_TOKEN|PERMISSION_DENIED|HTTP status 403": (
        "give credentials that have not expired and may read, write, list and delete there"
    ),
    r"NO_SUCH_BUCKET": "check the bucket's name and its region",
    r"QuotaExceeded|InsufficientStorage|StorageFull|HTTP status 507": "free some space in the store",
}
"""By what the clients call an error that does not pass, what to do about it."""
_AWAY = "check the network and the store"
_SETTINGS = ("AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
"""How the names of environment variables begin that say where a store is, and who asks."""


def opened(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of `uri`, and the path in it. Raises as pyarrow's ``FileSystem.from_uri`` does.

    All URIs of a bucket have one file system in a process, and so one client with its connections and credentials,
    until its options or environment variables change.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        filesystem, path = fs.FileSystem.from_uri(uri)
        if not isinstance(filesystem, fs.LocalFileSystem):
            filesystem = fs.PyFileSystem(_object_store(filesystem, RETRIES))
        return filesystem, path
    bucket, path, options = match.groups(default="")
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS)))
    filesystem, root = _client(bucket, options, _retries.get(RETRIES), settings, os.getpid())
    return filesystem, root.rstrip("/") + unquote(path)


@lru_cache(maxsize=64)
def _client(bucket: str, options: str, times: int, _settings: object, _process: int) -> tuple[fs.FileSystem, str]:
    """A forked process has none of its parent's threads, and needs a client of its own."""
    for scheme, option, value in ((("s3://",), _SMALL_WRITES, "true"), (("gs://", "gcs://"), _GOOGLE, PATIENCE_S)):
        if bucket.startswith(scheme) and option not in options:
            options += f"{'&' if options else '?'}{option}={value}"
    filesystem, path = fs.FileSystem.from_uri(bucket + options)
    return fs.PyFileSystem(_object_store(filesystem, times)), path


def _object_store(store: fs.FileSystem, times: int) -> "ObjectStore":
    """`store`, whose client asks again so many `times`: a URI cannot say that for S3, and a pickle forgets it."""
    if store.type_name == "s3":
        _, (settings,) = store.__reduce__()
        patience = {"connect_timeout": CONNECT_S, "request_timeout": ANSWER_S}
        store = fs.S3FileSystem(**settings | patience, retry_strategy=fs.AwsDefaultS3RetryStrategy(times))
    return ObjectStore(store)


@contextmanager
def hurried() -> Iterator[None]:
    """In the block this thread asks few times: it asks again by itself, or what it says matters only soon."""
    before = _retries.set(_FEW)
    try:
        yield
    finally:
        _retries.reset(before)


@contextmanager
def uploaded(filesystem: fs.FileSystem, path: str) -> Iterator[Any]:
    """A stream to write an object by, which is there once the block has ended well; else all is as it was before.

    A stream of pyarrow's has no other end than `close`, which publishes what it was given, and its destructor closes
    it. So where the block raises, or the upload, the stream is kept for as long as the process lives, with what it
    holds: some MB. Parts that were sent by then are no object, and stay with the store until a rule of its bucket
    removes them, as those of a killed process do.
    """
    stream = filesystem.open_output_stream(path)
    try:
        yield stream
        with waiting(f"{path}: waiting for the storage to take it"):
            stream.close()
    except BaseException:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))  # a list would be cleared at the end of the process
        raise


@dataclass(frozen=True)
class ObjectStore(fs.FileSystemHandler):  # type: ignore[misc]
    """Passes everything on to `store`, except that it creates no folders, and finds out what is not there."""

    store: fs.FileSystem

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is as patient."""
        return _object_store, (self.store, RETRIES)

    def get_type_name(self) -> str:
        return str(self.store.type_name)

    def normalize_path(self, path: str) -> str:
        return str(self.store.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        with _asking(selector.base_dir):
            return list(self.store.get_file_info(selector))

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: a folder is there as soon as an object is in it."""

    def delete_dir(self, path: str) -> None:
        """Leaves an empty object for the folder above, which pyarrow's S3 makes at each removal."""
        try:
            with _asking(path):
                self.store.delete_dir(path)
        except OSError as error:
            if not _denied(error):
                raise
            self.delete_dir_contents(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = True) -> None:
        """By names below `path` alone, for which credentials are certain to be good."""
        inside = fs.FileSelector(path, recursive=True, allow_not_found=missing_dir_ok)
        files = [info.path for info in self.store.get_file_info(inside) if info.type == fs.FileType.File]
        with _asking(path), ThreadPoolExecutor(_REMOVED_AT_A_TIME) as pool:
            list(pool.map(self.store.delete_file, files))

    def delete_root_dir_contents(self) -> None:
        raise OSError("a whole store is not removed")

    def delete_file(self, path: str) -> None:
        self._or_missing(path, lambda: self.store.delete_file(path))

    def move(self, src: str, dest: str) -> None:
        self.store.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        """In the store, where it can: S3 refuses to copy a large object by one request, and pyarrow has no other."""
        with _asking(dest):
            if self.store.type_name != "s3" or self._info(src).size <= COPIED_AT_ONCE:
                self.store.copy_file(src, dest)
                return
        with self.store.open_input_stream(src, compression=None) as source, uploaded(self.store, dest) as target:
            while data := source.read(_COPY_BYTES):
                target.write(data)

    def open_input_stream(self, path: str) -> Any:
        return self._or_missing(path, lambda: self.store.open_input_stream(path, compression=None))

    def open_input_file(self, path: str) -> Any:
        return self._or_missing(path, lambda: self.store.open_input_file(path))

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        with _asking(path):
            return self.store.open_output_stream(path, compression=None, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return self.store.open_append_stream(path, compression=None, metadata=metadata)

    def _or_missing(self, path: str, asked: Callable[[], T]) -> T:
        """What `asked` returns. Raises `FileNotFoundError` if access is denied because nothing is there."""
        try:
            with _asking(path):
                return asked()
        except OSError as error:
            if _denied(error) and self._listed(path, error).type == fs.FileType.NotFound:
                raise FileNotFoundError(f"{path} is not there") from None
            raise

    def _info(self, path: str) -> fs.FileInfo:
        try:
            with _asking(path):
                return self.store.get_file_info(path)
        except OSError as error:
            if not _denied(error):
                raise
            return self._listed(path, error)

    def _listed(self, path: str, denied: OSError) -> fs.FileInfo:
        """What a listing says of `path`. Raises `denied` if that is not allowed either."""
        parent = path.rstrip("/").rpartition("/")[0]
        try:
            found = self.store.get_file_info(fs.FileSelector(parent, allow_not_found=True))
            return next((i for i in found if i.path == path), fs.FileInfo(path, fs.FileType.NotFound))
        except OSError as error:
            if not _denied(error):
                raise
        try:  # it may be the prefix itself
            found = self.store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except OSError:
            raise denied from None
        return fs.FileInfo(path, fs.FileType.Directory if found else fs.FileType.NotFound)


def _asking(path: str) -> AbstractContextManager[None]:
    return waiting(f"{path}: waiting for the storage to answer")


def _denied(error: OSError) -> bool:
    return "ACCESS_DENIED" in str(error)


def was_waited_for(error: OSError) -> bool:
    """Whether a client raised it that has asked again for minutes where that may help."""
    return _says(error, _PATIENT)


def _says(error: OSError, clients: tuple[str, ...]) -> bool:
    return not isinstance(error, FileNotFoundError) and any(said in str(error) for said in clients)


def remedy(error: OSError) -> str | None:
    """What to do about an error of an object store; None if it is none."""
    if not _says(error, _PATIENT + _OTHERS):
        return None
    return next((what for said, what in _REMEDIES.items() if re.search(said, str(error))), _AWAY)
