"""A fake object store: a local folder whose reads are logged and can be delayed."""

import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyarrow import fs


def weight_file(size: int, seed: str = "") -> bytes:
    """A safetensors file of random bytes, of 200 bytes or more."""
    count = size - 128
    header = json.dumps({"t": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode().ljust(120)
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(count)


class Offline:
    """Replaces `fs.FileSystem` on a machine without a network."""

    @staticmethod
    def from_uri(uri: str) -> object:
        raise OSError("When resolving region for bucket 'b': no network")


class Store:
    """`folder` has the files, and in ``.reads`` a line for each range that was read: file, begin, end, time.

    While the folder has a file ``.hold`` with a number, reads wait once so many are logged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())

    def listed(self) -> list[fs.FileInfo]:
        infos = self._files.get_file_info(fs.FileSelector(""))
        return [info for info in infos if not info.base_name.startswith(".")]

    def get_file_info(self, path: str) -> fs.FileInfo:
        return self._files.get_file_info(path)

    def open_input_file(self, path: str) -> "_File":
        return _File(self, path, self._files.open_input_file(path))

    def reads(self) -> list[tuple[str, int, int]]:
        """The ranges that were read completely."""
        log = self.folder / ".reads"
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def wait(self) -> None:
        with suppress(FileNotFoundError):  # the test may remove it at any time
            while len(self.reads()) >= int((self.folder / ".hold").read_text() or 0):
                time.sleep(0.02)


class _File:
    def __init__(self, store: Store, path: str, file: Any):
        self._store, self._path, self._file = store, path, file

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_at(self, nbytes: int, offset: int) -> bytes:
        self._store.wait()
        data: bytes = self._file.read_at(nbytes, offset)
        with (self._store.folder / ".reads").open("a") as log:
            log.write(json.dumps([self._path, offset, offset + nbytes]) + "\n")
        return data


if __name__ == "__main__":  # a process that fetches: STORE TARGET PART_BYTES PARTS_AT_A_TIME SUFFIX
    from selfreward_ray.models import fetch

    store, target, suffix = Store(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[5]
    fetch.PART_BYTES, fetch.PARTS_AT_A_TIME = int(sys.argv[3]), int(sys.argv[4])
    files = [info for info in store.listed() if info.base_name.endswith(suffix)]
    fetch.fetch(store, files, target, lambda here, total: print(here, total, flush=True))
