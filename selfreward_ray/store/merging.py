"""Merge the blocks of a step into a few large files: see `blocks` for when each of them counts.

Rows are in the order of their ids. Then the files, and their digests, depend on the rows alone, and not on how these
were cut into blocks, by which replicas and in how many attempts. Memory is constant: blocks are read in the order of
their first ids, and a row waits only for blocks that begin before it. Where blocks are no runs of ids, more rows than
`_MOST_WAITING` would wait: then the first of them are written, and the order depends on the blocks.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.store.blocks import BLOCKS, is_merged, merged_name, together, written
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder
from selfreward_ray.store.tables import ROWS_PER_GROUP, read_file

BYTES_PER_FILE = 64 * 2**20
ROWS_PER_FILE = 64 * ROWS_PER_GROUP
_MOST_WAITING = 32 * ROWS_PER_GROUP


def merge_blocks(place: Folder) -> dict[str, str]:
    """Write the rows of the blocks of `place` to its tables. Returns the SHA-256 of each file, by its path.

    Raises `UserError` for a damaged block.
    """
    digests: dict[str, str] = {}
    for name in (place / BLOCKS).folders():
        if blocks := written(place / BLOCKS / name):
            digests |= _merge(place / BLOCKS / name, blocks, place / name)
    return digests


def _merge(source: Folder, blocks: Sequence[fs.FileInfo], table: Folder) -> dict[str, str]:
    for info in written(table):
        if is_merged(info):  # of an attempt that was killed, perhaps of a version that cuts other files
            table.remove(info.base_name)
    filesystem, _ = source.filesystem()
    files = _Files(table)
    for group in _groups(_pieces(filesystem, blocks)):
        files.write(group)
    files.end()
    return files.digests


def _pieces(filesystem: fs.FileSystem, blocks: Sequence[fs.FileInfo]) -> Iterator[pa.Table]:
    """The rows of `blocks`, of some that have the same columns at a time; a version may add a column."""
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for some in together(blocks):
            waiting: list[pa.Table] = []
            for rows in pool.map(lambda info: read_file(filesystem, info.path), some):
                if waiting and rows.schema != waiting[0].schema:
                    yield pa.concat_tables(waiting)
                    waiting = []
                if rows.num_rows:  # a retried block may have none
                    waiting.append(rows)
            if waiting:
                yield pa.concat_tables(waiting)


def _groups(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of `pieces` in the order of their ids, as row groups."""
    waiting = next(pieces, None)
    while waiting is not None:
        following = next(pieces, None)
        waiting = waiting.take(pc.sort_indices(waiting["id"]))
        ready = waiting.num_rows
        if following is not None and following.schema == waiting.schema:
            later = pc.sum(pc.less(waiting["id"], min(following["id"].to_pylist()))).as_py() or 0
            ready = max(later, ready - _MOST_WAITING) // ROWS_PER_GROUP * ROWS_PER_GROUP
        for start in range(0, ready, ROWS_PER_GROUP):
            yield waiting.slice(start, min(ROWS_PER_GROUP, ready - start))
        left = waiting.slice(ready)
        waiting = following if following is None or not left.num_rows else pa.concat_tables([left, following])


class _Files:
    """Writes row groups to files of a table, each whole and once it is full."""

    def __init__(self, table: Folder) -> None:
        self.digests: dict[str, str] = {}
        self._table = table
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema = None

    def write(self, group: pa.Table) -> None:
        if self._writer is None or group.schema != self._schema:
            self.end()
            self._buffer, self._rows, self._schema = io.BytesIO(), 0, group.schema
            self._writer = pq.ParquetWriter(self._buffer, group.schema)
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._rows += group.num_rows
        if self._rows >= ROWS_PER_FILE or self._buffer.tell() >= BYTES_PER_FILE:
            self.end()

    def end(self) -> None:
        """Write the file that is begun, if any."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        data = self._buffer.getvalue()
        name = f"{merged_name(len(self.digests))}.parquet"
        self._table.write_bytes(name, data)
        self.digests[f"{self._table.filesystem()[1].rstrip('/')}/{name}"] = hashlib.sha256(data).hexdigest()
