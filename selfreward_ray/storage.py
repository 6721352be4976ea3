"""Folders on disk or in an object store, by URI, through the same file systems that Ray uses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError


def absolute(uri: str) -> str:
    """`uri` unchanged when it has a scheme, else the absolute local path, equal on every process of a node."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


@dataclass(frozen=True)
class Folder:
    """A folder named by a URI or a local path. ``folder / "name"`` is a folder inside it."""

    uri: str

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri.rstrip('/')}/{name}")

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """The file system and the path in it. Raises `UserError` for a scheme that pyarrow does not know."""
        try:
            filesystem, path = fs.FileSystem.from_uri(absolute(self.uri))
        except (ValueError, TypeError) as error:
            raise UserError(f"can not open storage {self.uri!r}: {error}") from None
        return filesystem, path

    def is_file(self, name: str) -> bool:
        filesystem, path = self.filesystem()
        return bool(filesystem.get_file_info(f"{path}/{name}").type == fs.FileType.File)

    def files(self, suffix: str = "") -> list[str]:
        """Paths, as `filesystem` understands them, of the files directly inside; empty when there is no folder."""
        return [info.path for info in self.infos() if info.path.endswith(suffix)]

    def infos(self) -> list[fs.FileInfo]:
        """The files directly inside, with size and time, in the order of their names."""
        filesystem, path = self.filesystem()
        infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted((i for i in infos if i.type == fs.FileType.File), key=lambda info: info.path)

    def folders(self) -> list[str]:
        """Names of the folders directly inside."""
        filesystem, path = self.filesystem()
        infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == fs.FileType.Directory)

    def read_bytes(self, name: str) -> bytes:
        filesystem, path = self.filesystem()
        with filesystem.open_input_stream(f"{path}/{name}") as stream:
            return bytes(stream.read())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write `name` so that it is either whole or absent."""
        with self.writing(name) as stream:
            stream.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A stream to write `name` by, which is there, whole, only once the block ends well."""
        filesystem, path = self.filesystem()
        filesystem.create_dir(path, recursive=True)
        # A rename is atomic on a disk; an object store shows an object only when it is whole.
        partial = f"{path}/.{name}.partial" if isinstance(filesystem, fs.LocalFileSystem) else f"{path}/{name}"
        with filesystem.open_output_stream(partial) as stream:
            yield stream
        if partial != f"{path}/{name}":
            filesystem.move(partial, f"{path}/{name}")

    def read_json(self, name: str) -> Any:
        """Raises `UserError` for a damaged file."""
        try:
            return json.loads(self.read_bytes(name))
        except ValueError as error:
            raise UserError(
                f"{self.uri}/{name} is damaged ({error}); remove its folder to do that step again"
            ) from None

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, json.dumps(value, indent=2, ensure_ascii=False).encode())

    def delete(self) -> None:
        """Remove the folder and all in it; nothing happens when there is none."""
        filesystem, path = self.filesystem()
        if filesystem.get_file_info(path).type == fs.FileType.Directory:
            filesystem.delete_dir(path)
