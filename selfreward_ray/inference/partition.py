"""A table of a step, cut into the blocks that replicas run: each says which rows of which files it has.

Replicas read their rows themselves. Reading by Ray Data would take operators of their own, each with a process, and
CPUs without which the pool would wait for ever.
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

BlockSpec = dict[str, Any]
"""``{"segments": [{"path": …, "rows": [0, 1, …]}, …]}``, paths as the table's file system understands them."""


def partition_table(table: Folder, finished: Container[str], rows_per_block: int) -> list[BlockSpec]:
    """Blocks of `rows_per_block` rows, the last of fewer, of those rows of `table` whose id is not `finished`.

    Raises `OSError` where the table can not be read.
    """
    filesystem, _ = table.filesystem()
    paths = table.files(".parquet")

    def ids_of(path: str) -> list[str]:
        ids: list[str] = pq.read_table(path, columns=["id"], filesystem=filesystem)["id"].to_pylist()
        return ids

    blocks: list[BlockSpec] = []
    room = 0
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for path, ids in zip(paths, pool.map(ids_of, paths), strict=True):
            for row, row_id in enumerate(ids):
                if row_id in finished:
                    continue
                if not room:
                    blocks.append({"segments": []})
                    room = rows_per_block
                segments = blocks[-1]["segments"]
                if not segments or segments[-1]["path"] != path:
                    segments.append({"path": path, "rows": []})
                segments[-1]["rows"].append(row)
                room -= 1
    return blocks


def rows_in(blocks: list[BlockSpec]) -> int:
    """Rows of `blocks`."""
    return sum(len(segment["rows"]) for block in blocks for segment in block["segments"])


async def read_block(block: BlockSpec, table: Folder, record: type[Any]) -> list[Any]:
    """The records of a block of `table`. Of each file only the row groups are read that have rows of it.

    Raises `OSError` when the storage goes on failing.
    """
    return await with_retries(_read, block, table, record)


def _read(block: BlockSpec, table: Folder, record: type[Any]) -> list[Any]:
    filesystem, _ = table.filesystem()
    found: list[Any] = []
    for segment in block["segments"]:
        with filesystem.open_input_file(segment["path"]) as file:
            for rows in _row_groups(pq.ParquetFile(file), segment["rows"]):
                found += from_table(rows, record)
    return found


def _row_groups(file: pq.ParquetFile, rows: list[int]) -> Iterator[pa.Table]:
    """Those of `rows`, ascending numbers, that are in each row group that has any."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    for group, end in enumerate(accumulate(sizes)):
        begin = end - sizes[group]
        here = [row - begin for row in rows if begin <= row < end]
        if here:
            yield file.read_row_group(group, use_threads=False).take(here)
