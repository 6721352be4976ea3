"""Where the blocks of an unfinished step are, and which files of its tables count.

Replicas write what became of a few rows as a block: a small Parquet file a table, in ``STEP/blocks/TABLE``. When the
last block is there, `merging` writes their rows to a few large files, ``STEP/TABLE/merged-000000.parquet`` and so on;
then the manifest is written; then the blocks are removed. Files of a table that have other names were not blocks, and
always count.

Every row counts once, whenever a process is killed, because one object decides: the manifest, which is there or not.

- Without it blocks count, and merged files beside them do not. No block is removed before the manifest is written, so
  that all rows are still there. The next attempt removes the merged files and merges again.
- With it merged files count, and blocks do not. Merged files hold the rows of all blocks, because a step is merged
  after its last block. Blocks that a killed process has left are garbage, for `selfreward gc`.

Nothing is renamed and no listing has to be up to date, so this holds in an object store as it does on a disk. A reader
lists the blocks first, then looks for the manifest, and lists merged files last. If it finds blocks and no manifest, it
reads blocks, all of which were there; if the step is finished before it opens them, it misses files and reads no row
twice. Otherwise the manifest was there before it listed the merged files, all of which are written before.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from pyarrow import fs

from selfreward_ray.store.folder import Folder, absolute
from selfreward_ray.store.manifest import MANIFEST

BLOCKS = "blocks"
PROPOSALS = "proposals"
"""A folder with tables of its own, in that of the propose step, whose manifest decides."""

_MERGED = "merged-"
_READ_TOGETHER_BYTES = 2 * 2**20


def block_name(ids: Sequence[str]) -> str:
    """The name of the block with the rows `ids`, the same for each attempt. Names sort about as the rows do."""
    first = re.sub(r"[^0-9A-Za-z]+", "-", min(ids))[:60]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return f"{first}-{digest[:16]}"


def merged_name(number: int) -> str:
    return f"{_MERGED}{number:06d}"


def is_merged(info: fs.FileInfo) -> bool:
    return bool(info.base_name.startswith(_MERGED))


def files_of(table: Folder) -> list[fs.FileInfo]:
    """The files of a table that count, in the order of their names, blocks last."""
    place, name = place_of(table)
    if not name or place.uri.endswith(":/"):  # a bucket
        return written(table)
    blocks = written(place / BLOCKS / name)
    if not blocks or _is_complete(place):
        return written(table)
    return [*(info for info in written(table) if not is_merged(info)), *blocks]


def place_of(table: Folder) -> tuple[Folder, str]:
    """The folder that a table is in, and the table's name."""
    uri, _, name = absolute(table.uri).rstrip("/").rpartition("/")
    return Folder(uri), name


def tables_of(place: Folder) -> list[str]:
    """The names of the folders in that of a step, and of the tables that have blocks alone."""
    names = {*place.folders()}
    return sorted(names - {BLOCKS} | ({*(place / BLOCKS).folders()} if BLOCKS in names else set()))


def written(table: Folder) -> list[fs.FileInfo]:
    """The files in the folder of a table, blocks apart."""
    return [info for info in table.infos() if info.extension == "parquet"]


def _is_complete(place: Folder) -> bool:
    above, _, name = place.uri.rpartition("/")
    return place.is_file(MANIFEST) or (name == PROPOSALS and Folder(above).is_file(MANIFEST))


def together(files: Sequence[fs.FileInfo]) -> Iterator[list[fs.FileInfo]]:
    """`files` in order, in lists that are small enough to be in memory together: many small files, or a large one."""
    some: list[fs.FileInfo] = []
    held = 0
    for info in files:
        if some and held + info.size > _READ_TOGETHER_BYTES:
            yield some
            some, held = [], 0
        some.append(info)
        held += info.size
    if some:
        yield some
