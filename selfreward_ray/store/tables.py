"""The tables of a step: Parquet files of records, in a folder each."""

import hashlib
import io
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.records import Dropped
from selfreward_ray.reporting.silence import waiting
from selfreward_ray.store.arrow import as_stored, from_table, to_table
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder

R = TypeVar("R")

_ROWS_PER_GROUP = 256
"""What a reader of a few rows of a large file reads at the most."""

_DAMAGE = ("thrift", "end of stream", "orrupt", "ecompress", "Parquet")
"""In the messages of Arrow's OSErrors where a file's bytes are wrong. Others are the storage's, and may pass."""


@contextmanager
def whole_file(path: str) -> Iterator[None]:
    """Raise `UserError` where what is done in the block fails because the Parquet file `path` is damaged."""
    try:
        with waiting(f"{path}: reading"):
            yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and (error.errno or not any(word in str(error) for word in _DAMAGE)):
            raise
        fault = " ".join(str(error).split())
        raise UserError(
            f"{path} is damaged ({fault}); put back a copy of the file, or remove {step_of(path)} and make that step "
            "again"
        ) from None


def step_of(path: str) -> str:
    """The step's folder of a file of one of its tables."""
    return path.rsplit("/", 2)[0]


def read_files(table: Folder, record: type[R], skip: Container[str] = ()) -> Iterator[tuple[str, list[R]]]:
    """Each file of a table of `record`, by its path, with its rows: one file in memory at a time.

    Raises `UserError` if a row is no `record` of this version, and for a damaged file.
    """
    filesystem, _ = table.filesystem()
    for path in table.files(".parquet"):
        if path not in skip:
            with whole_file(path):
                found = pq.read_table(path, filesystem=filesystem)
            yield path, from_table(found, record, path)


def read_rows(folder: Folder, record: type[R], table: str = "rows") -> list[R]:
    """All records of a table of a step, in the order of their files' names."""
    return [row for _, rows in read_files(folder / table, record) for row in rows]


def count_rows(table: Folder) -> int:
    """Rows of a table, from its files' footers alone."""
    return sum(rows for _, rows in file_rows(table))


def file_rows(table: Folder) -> list[tuple[str, int]]:
    """The files of a table, by their paths, and how many rows each has, from their footers alone.

    Raises `UserError` for a file whose footer is damaged.
    """
    filesystem, _ = table.filesystem()
    paths = table.files(".parquet")

    def count(path: str) -> int:
        with whole_file(path):
            return int(pq.read_metadata(path, filesystem=filesystem).num_rows)

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        return list(zip(paths, pool.map(count, paths), strict=True))


def read_blocks(table: Folder, paths: list[str], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of the files `paths` of a table in blocks of `rows` to twice as many. The last block, and the last one
    before a file with other columns, may be smaller. Raises `UserError` for a damaged file."""
    filesystem, _ = table.filesystem()
    waiting: list[pa.RecordBatch] = []
    for path in paths:
        for batch in _batches(filesystem, path, rows, columns):
            if waiting and batch.schema != waiting[0].schema:  # a file of an earlier version, with fewer columns
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= rows:
                yield pa.Table.from_batches(waiting)
                waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _batches(filesystem: fs.FileSystem, path: str, rows: int, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    with filesystem.open_input_file(path) as file:
        with whole_file(path):
            batches = pq.ParquetFile(file).iter_batches(rows, columns=columns, use_threads=False)
        while True:
            with whole_file(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield as_stored(batch)


def read_columns(table: Folder, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Some columns of all rows of a table, as plain dicts, in the order of the files' names.

    A few files are read side by side and are in memory together. ``a.b`` names a field of a struct. Raises `UserError`
    for a damaged file.
    """
    filesystem, _ = table.filesystem()
    paths = table.files(".parquet")

    def read(path: str) -> pa.Table:
        with filesystem.open_input_file(path) as file, whole_file(path):
            return pq.ParquetFile(file).read(columns=columns, use_threads=False)

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for start in range(0, len(paths), FILES_AT_A_TIME):
            for rows in pool.map(read, paths[start : start + FILES_AT_A_TIME]):
                yield from as_stored(rows).to_pylist()


def count_reasons(table: Folder) -> Counter[str]:
    """The rows of a table of `Dropped` by reason, one file in memory at a time."""
    filesystem, _ = table.filesystem()
    counts: Counter[str] = Counter()
    for path in table.files(".parquet"):
        with whole_file(path):
            reasons = as_stored(pq.read_table(path, columns=["reason"], filesystem=filesystem))["reason"]
        counts.update({row["values"]: row["counts"] for row in reasons.value_counts().to_pylist()})
    return counts


def write_part(folder: Folder, table: str, records: list[R], record: type[R], part: str) -> None:
    """Write one Parquet file of a table. The same `part` overwrites: a retried block is never there twice."""
    buffer = io.BytesIO()
    pq.write_table(to_table(records, record), buffer, row_group_size=_ROWS_PER_GROUP)
    (folder / table).write_bytes(f"{part}.parquet", buffer.getvalue())


def write_block(
    folder: Folder,
    ids: list[str],
    kept: list[R],
    record: type[R],
    dropped: list[Dropped],
    flagged: Sequence[Dropped] = (),
) -> None:
    """Write what became of the rows `ids`. A block that is retried overwrites its first attempt.

    `flagged` names parts of rows that were kept or dropped.
    """
    part = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    tables: dict[str, tuple[list[Any], type[Any]]] = {
        "rows": (kept, record),
        "dropped": (dropped, Dropped),
        "flagged": (list(flagged), Dropped),
    }
    for table, (records, kind) in tables.items():
        # A table without rows is written too where an earlier attempt left some.
        if records or (folder / table).is_file(f"{part}.parquet"):
            write_part(folder, table, records, kind, part)


def finished_ids(folder: Folder) -> set[str]:
    """Ids of rows that an interrupted attempt already finished or dropped."""
    filesystem, _ = folder.filesystem()
    paths = [*(folder / "rows").files(".parquet"), *(folder / "dropped").files(".parquet")]

    def ids(path: str) -> list[str]:
        with whole_file(path):
            return ids_of(path, filesystem)

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        return {i for found in pool.map(ids, paths) for i in found}


def ids_of(path: str, filesystem: fs.FileSystem) -> list[str]:
    """The ids of a file of a table. Raises Arrow's errors."""
    found: list[str] = as_stored(pq.read_table(path, columns=["id"], filesystem=filesystem))["id"].to_pylist()
    return found
