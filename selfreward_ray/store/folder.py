"""Folders on disk or in an object store, by URI, through the same file systems that Ray uses."""

import json
import os
import posixpath
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from selfreward_ray.credentials import find_secret
from selfreward_ray.errors import UserError
from selfreward_ray.reporting.silence import waiting
from selfreward_ray.store.object_store import opened, uploaded

_SUPPORTED = "; name a path on a disk, or a URI that begins with s3://, gs:// or abfss://"
FILES_AT_A_TIME = 16
"""Files that are looked into side by side: an object store answers each after some milliseconds."""


def absolute(uri: str) -> str:
    """`uri` unchanged when it has a scheme, else the absolute local path, equal on every process of a node.

    Raises `UserError` as `check_spelling` does.
    """
    check_spelling(uri)
    return _absolute(uri)


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).absolute())


def same_place(uri: str) -> str:
    """The same text for every spelling of one place: relative or absolute, ``file://``, with ``..`` or slashes more."""
    uri = _absolute(uri.removeprefix("file://"))
    scheme, separator, path = uri.rpartition("://")
    return scheme + separator + posixpath.normpath(path)


def check_spelling(uri: str) -> None:
    """Raise `UserError` for a text that means a home folder or a URI, and that would be taken for a local path.

    A path whose first part is there is what it seems.
    """
    first = uri.partition("/")[0]
    if os.path.lexists(first):
        return
    if first.startswith("~"):
        raise UserError(f"cannot open {uri!r}: only a shell expands {first}, and not behind =; write the whole path")
    if re.match(r"\w+:(?!//)", uri):
        raise UserError(
            f"cannot open {uri!r}: a URI has // behind its scheme, as s3://bucket/path; write ./{uri} for a local path"
        )


@dataclass(frozen=True)
class Folder:
    """A folder named by a URI or a local path. ``folder / "name"`` is a folder inside it."""

    uri: str

    def __post_init__(self) -> None:
        """Raises `UserError` for a URI with a secret, which would stand in what the steps write, and which the
        storage's client may repeat in its messages."""
        if "://" in self.uri and (secret := find_secret(self.uri)):
            raise UserError(secret)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri.rstrip('/')}/{name}")

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """The file system and the path in it.

        Raises `UserError` for a scheme that is not supported and for a URI that is not well-formed, and
        `FileNotFoundError` for a bucket that cannot be found, which may be the network's fault: workers try again.
        """
        # In a file's URI both end the path; elsewhere options follow the "?".
        ends = "#?" if self.uri.startswith("file://") else "#" if "://" in self.uri else ""
        if any(end in self.uri for end in ends):
            raise UserError(
                f"cannot open storage {self.uri!r}: its path would end at the # or ?; write %23 for # and %3F for ?"
            )
        if self.uri.startswith("hf://"):  # pyarrow would ask the hub's client, whose errors are of many kinds
            raise UserError(f"cannot open storage {self.uri!r}: what is on the hub is named owner/name, without hf://")
        place = absolute(self.uri)
        try:
            filesystem, path = opened(place)
        except (ValueError, TypeError) as error:
            raise UserError(f"cannot open storage {self.uri!r}: {error}{_remedy(self.uri)}") from None
        except OSError as error:
            raise FileNotFoundError(
                f"cannot open storage {self.uri!r} (does the bucket exist, and can this machine reach it?): {error}"
                + (_SUPPORTED if self.uri.startswith("hdfs://") else "")
            ) from None
        if not self.uri or not path or "\0" in path:
            raise UserError(f"cannot open storage {self.uri!r}: it names no bucket or folder")
        return filesystem, path

    def is_file(self, name: str) -> bool:
        """Whether `name` is a file directly inside; False when there is no folder."""
        filesystem, path = self.filesystem()
        return bool(filesystem.get_file_info(f"{path}/{name}").type == fs.FileType.File)

    def files(self, suffix: str = "") -> list[str]:
        """Paths, as `filesystem` understands them, of the files directly inside; empty when there is no folder."""
        return [info.path for info in self.infos() if info.path.endswith(suffix)]

    def infos(self) -> list[fs.FileInfo]:
        """The files directly inside, with size and time, in the order of their names."""
        return sorted((i for i in self._inside() if i.type == fs.FileType.File), key=lambda info: info.path)

    def infos_below(self) -> dict[str, fs.FileInfo]:
        """The files in the folder and in those below it by their names relative to it, in their order.

        Left out is what begins with a dot (``.git``), and folders that begin with an underscore, in which other
        programs keep unfinished work and logs.
        """
        filesystem, path = self.filesystem()
        found: dict[str, fs.FileInfo] = {}
        waiting = [""]
        root = path.rstrip("/")
        while waiting:
            below = waiting.pop()
            for info in filesystem.get_file_info(fs.FileSelector(f"{root}/{below}".rstrip("/"), allow_not_found=True)):
                name = f"{below}{info.base_name}"
                if info.type == fs.FileType.File and not info.base_name.startswith("."):
                    found[name] = info
                elif info.type == fs.FileType.Directory and not info.base_name.startswith((".", "_")):
                    waiting.append(f"{name}/")
        return dict(sorted(found.items()))

    def folders(self) -> list[str]:
        """Names of the folders directly inside; empty when there is no folder."""
        return sorted(i.base_name for i in self._inside() if i.type == fs.FileType.Directory)

    def _inside(self) -> list[fs.FileInfo]:
        filesystem, path = self.filesystem()
        try:
            found: list[fs.FileInfo] = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except NotADirectoryError:  # a file
            return []
        return found

    def read_bytes(self, name: str) -> bytes:
        """All of `name`. Raises `FileNotFoundError` when it is not there, and another `OSError` of the storage."""
        filesystem, path = self.filesystem()
        with filesystem.open_input_stream(f"{path}/{name}") as stream, waiting(f"{self.uri}/{name}: reading"):
            return bytes(stream.read())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write `name`, whole or not at all, as `writing` does."""
        with self.writing(name) as stream:
            stream.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A stream to write `name` by, which is there, whole, once the block ends well.

        When the block or the storage raises, or the process is killed, a file that had the name before stays, and
        nothing else is there.
        """
        filesystem, path = self.filesystem()
        filesystem.create_dir(path, recursive=True)
        if not isinstance(filesystem, fs.LocalFileSystem):
            with uploaded(filesystem, f"{path}/{name}") as stream:
                yield stream
            return
        partial = f"{path}/.{name}.partial"  # a rename is atomic on a disk
        stream = filesystem.open_output_stream(partial)
        try:
            yield stream
            stream.close()
            filesystem.move(partial, f"{path}/{name}")
        except BaseException:
            with suppress(OSError):  # as on a full disk
                stream.close()
            with suppress(OSError):
                filesystem.delete_file(partial)
            raise

    def read_json(self, name: str) -> Any:
        """The value that `name` holds. Raises `UserError` for a damaged file, and as `read_bytes` does."""
        try:
            return json.loads(self.read_bytes(name))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{self.uri}/{name} is damaged ({error}); remove its folder to do that step again"
            ) from None

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, json.dumps(value, indent=2, ensure_ascii=False).encode())

    def remove(self, name: str) -> None:
        """Remove the file `name`; nothing happens when there is none."""
        filesystem, path = self.filesystem()
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{path}/{name}")

    def delete(self) -> None:
        """Remove the folder and all in it; nothing happens when there is none."""
        filesystem, path = self.filesystem()
        with suppress(FileNotFoundError):
            filesystem.delete_dir(path)

    def empty(self, but: Collection[str]) -> None:
        """Remove all in the folder but what has a name in `but`. In an object store only names below the folder are
        asked for."""
        for info in self._inside():
            if info.base_name in but:
                continue
            if info.type == fs.FileType.Directory:
                (self / info.base_name).delete()
            else:
                self.remove(info.base_name)

    def holds_only(self, names: Collection[str]) -> bool:
        """Whether what is directly inside, if anything is, has a name in `names`."""
        return all(info.base_name in names for info in self._inside())


def _remedy(uri: str) -> str:
    """What to do about a URI that pyarrow does not understand."""
    scheme = uri.partition("://")[0]
    if " " in uri:
        return "; write %20 for a space"
    if scheme.lower() in ("http", "https"):
        return "; download it, and name the file; a folder to write to is on a disk or in a bucket (s3://bucket/path)"
    if scheme in ("abfs", "abfss"):
        return f"; write {scheme}://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"
    return "" if scheme in ("file", "s3", "gs", "gcs") else _SUPPORTED
