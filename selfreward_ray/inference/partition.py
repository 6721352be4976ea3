"""Partitions a step's table into blocks for replicas. A block lists its rows by file and row number.

Replicas read their rows themselves. Ray Data's readers would be separate operators, each with a process and CPUs of
its own, and without free CPUs the pool would wait forever.
"""

from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfreward_ray.inference.block import with_retries
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder
from selfreward_ray.store.tables import ids_of, open_file, paths_of

BlockSpec = dict[str, Any]
"""``{"segments": [{"path": …, "rows": [0, 1, …]}, …]}``; paths are those of the table's file system."""


def partition_table(table: Folder, finished: Container[str], rows_per_block: int) -> list[BlockSpec]:
    """Blocks of `rows_per_block` rows, the last one possibly smaller, of the rows of `table` that are not `finished`.

    Raises `OSError` when the table cannot be read, and `UserError` for a damaged file.
    """
    filesystem, _ = table.filesystem()
    paths = paths_of(table)
    blocks: list[BlockSpec] = []
    free = 0
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for path, ids in zip(paths, pool.map(lambda path: ids_of(path, filesystem), paths), strict=True):
            for row, row_id in enumerate(ids):
                if row_id in finished:
                    continue
                if not free:
                    blocks.append({"segments": []})
                    free = rows_per_block
                segments = blocks[-1]["segments"]
                if not segments or segments[-1]["path"] != path:
                    segments.append({"path": path, "rows": []})
                segments[-1]["rows"].append(row)
                free -= 1
    return blocks


def rows_in(blocks: list[BlockSpec]) -> int:
    """Number of rows in `blocks`."""
    return sum(len(segment["rows"]) for block in blocks for segment in block["segments"])


async def read_block(block: BlockSpec, table: Folder, record: type[Any]) -> list[Any]:
    """The records of a block of `table`. Reads only the row groups that hold rows of the block.

    Raises `OSError` when the storage still fails after all retries.
    """
    return await with_retries(_read, block, table, record)


def _read(block: BlockSpec, table: Folder, record: type[Any]) -> list[Any]:
    filesystem, _ = table.filesystem()
    found: list[Any] = []
    for segment in block["segments"]:
        with open_file(filesystem, segment["path"]) as file:
            for rows in _row_groups(file, segment["rows"]):
                found += from_table(rows, record, segment["path"])
    return found


def _row_groups(file: pq.ParquetFile, rows: list[int]) -> Iterator[pa.Table]:
    """For each row group that holds any of `rows` (ascending row numbers of the file), a table of those rows."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    for group, end in enumerate(accumulate(sizes)):
        begin = end - sizes[group]
        here = [row - begin for row in rows if begin <= row < end]
        if here:
            yield file.read_row_group(group, use_threads=False).take(here)
