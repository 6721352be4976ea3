"""The tables of a step: Parquet files of records, in a folder each. `blocks` says which files count."""

import io
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
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
from selfreward_ray.store.blocks import BLOCKS, block_name, files_of, place_of, together
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder
from selfreward_ray.store.manifest import read_manifest

R = TypeVar("R")
T = TypeVar("T")

ROWS_PER_GROUP = 256
"""What a reader of a few rows of a large file reads at the most."""
_ROWS_AT_A_TIME = 1024
_SMALL_BYTES = 2**19
"""Files up to this size are read by one request, which is faster than one for the footer and one for the rows."""

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
        if path.split("/")[-3:-2] == [BLOCKS]:
            raise UserError(f"{path} is damaged ({fault}); remove it, and its rows are made again") from None
        raise UserError(
            f"{path} is damaged ({fault}); put back a copy of the file, or remove {step_of(path)} and make that step "
            "again"
        ) from None


def step_of(path: str) -> str:
    """The step's folder of a file of one of its tables."""
    return path.rsplit("/", 2)[0]


@contextmanager
def open_file(filesystem: fs.FileSystem, path: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read, by few requests: a small one is read at once, and neighbouring columns are read together.

    Raises `UserError` for a damaged file, also where the block reads on.
    """
    with filesystem.open_input_file(path) as file, whole_file(path):
        source = pa.BufferReader(file.read()) if file.size() <= _SMALL_BYTES else file
        yield pq.ParquetFile(source, pre_buffer=True)


def read_file(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a file of a table. Raises `UserError` for a damaged file."""
    with open_file(filesystem, path) as file:
        return as_stored(file.read(columns=columns, use_threads=False))


def side_by_side(look: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """`look` of each path, in order; a few files are in memory together."""
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for start in range(0, len(paths), FILES_AT_A_TIME):
            yield from pool.map(look, paths[start : start + FILES_AT_A_TIME])


def paths_of(table: Folder) -> list[str]:
    """The paths of the files of a table that count."""
    return [info.path for info in files_of(table)]


def read_files(table: Folder, record: type[R], skip: Container[str] = ()) -> Iterator[tuple[str, list[R]]]:
    """The rows of a table of `record`, some of a file at a time, with its path.

    Raises `UserError` if a row is no `record` of this version, and for a damaged file.
    """
    filesystem, _ = table.filesystem()
    for path in paths_of(table):
        if path not in skip:
            for rows in _batches(filesystem, path, _ROWS_AT_A_TIME, None):
                yield path, from_table(pa.Table.from_batches([rows]), record, path)


def read_rows(folder: Folder, record: type[R], table: str = "rows") -> list[R]:
    """All records of a table of a step, in the order of their files' names."""
    return [row for _, rows in read_files(folder / table, record) for row in rows]


def recorded_rows(table: Folder) -> int:
    """Rows of a table of a step: by its manifest if it is complete, else as `count_rows` counts them."""
    place, name = place_of(table)
    manifest = read_manifest(place)
    counts = {"dropped": sum(manifest.dropped.values()), **manifest.rows} if manifest else {}
    return counts[name] if name in counts else count_rows(table)


def holds_rows(table: Folder) -> bool:
    """Whether a table has a row; only files until one with rows are opened."""
    return any(count_rows(table, [path]) for path in paths_of(table))


def count_rows(table: Folder, paths: Sequence[str] | None = None) -> int:
    """Rows of a table, or of its files `paths`, from their footers alone."""
    return sum(rows for _, rows in file_rows(table, paths))


def file_rows(table: Folder, paths: Sequence[str] | None = None) -> list[tuple[str, int]]:
    """The files of a table, or those of `paths`, and how many rows each has, from their footers alone.

    Raises `UserError` for a file whose footer is damaged.
    """
    filesystem, _ = table.filesystem()
    paths = paths_of(table) if paths is None else paths

    def count(path: str) -> int:
        with whole_file(path):
            return int(pq.read_metadata(path, filesystem=filesystem).num_rows)

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        return list(zip(paths, pool.map(count, paths), strict=True))


def read_blocks(
    table: Folder, paths: Sequence[str], rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
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


def _batches(
    filesystem: fs.FileSystem, path: str, rows: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    with open_file(filesystem, path) as file:
        for batch in file.iter_batches(rows, columns=columns, use_threads=False):
            yield as_stored(batch)


def read_columns(table: Folder, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Some columns of all rows of a table, as plain dicts, in the order of the files' names.

    Small files are read side by side and are in memory together, large ones a part at a time. ``a.b`` names a field of
    a struct. Raises `UserError` for a damaged file.
    """
    filesystem, _ = table.filesystem()
    for some in together(files_of(table)):
        if len(some) == 1:
            for batch in _batches(filesystem, some[0].path, _ROWS_AT_A_TIME, columns):
                yield from batch.to_pylist()
        else:
            for rows in side_by_side(lambda path: read_file(filesystem, path, columns), [info.path for info in some]):
                yield from rows.to_pylist()


def count_reasons(table: Folder, paths: Sequence[str] | None = None) -> Counter[str]:
    """The rows of a table of `Dropped`, or of its files `paths`, by reason."""
    filesystem, _ = table.filesystem()
    counts: Counter[str] = Counter()
    paths = paths_of(table) if paths is None else paths
    for rows in side_by_side(lambda path: read_file(filesystem, path, ["reason"]), paths):
        counts.update({row["values"]: row["counts"] for row in rows["reason"].value_counts().to_pylist()})
    return counts


def write_part(folder: Folder, table: str, records: list[R], record: type[R], part: str) -> None:
    """Write one Parquet file of a table. The same `part` overwrites: a retried block is never there twice."""
    buffer = io.BytesIO()
    pq.write_table(to_table(records, record), buffer, row_group_size=ROWS_PER_GROUP)
    (folder / table).write_bytes(f"{part}.parquet", buffer.getvalue())


def write_block(
    folder: Folder,
    ids: list[str],
    kept: list[R],
    record: type[R],
    dropped: list[Dropped],
    flagged: Sequence[Dropped] = (),
) -> None:
    """Write what became of the rows `ids`, as a block of an unfinished step. A block that is retried overwrites its
    first attempt.

    `flagged` names parts of rows that were kept or dropped.
    """
    name = block_name(ids)
    tables: dict[str, tuple[list[Any], type[Any]]] = {
        "rows": (kept, record),
        "dropped": (dropped, Dropped),
        "flagged": (list(flagged), Dropped),
    }
    # What an earlier attempt left is removed first: if this one is killed between two tables, a row is in none of them,
    # and is made again. It may be in another table now.
    for table in tables:
        if (folder / BLOCKS / table).is_file(f"{name}.parquet"):
            (folder / BLOCKS / table).remove(f"{name}.parquet")
    for table, (records, kind) in tables.items():
        if records:
            write_part(folder / BLOCKS, table, records, kind, name)


def finished_ids(folder: Folder) -> set[str]:
    """Ids of rows that an interrupted attempt already finished or dropped."""
    filesystem, _ = folder.filesystem()
    paths = [*paths_of(folder / "rows"), *paths_of(folder / "dropped")]
    return {i for found in side_by_side(lambda path: ids_of(path, filesystem), paths) for i in found}


def ids_of(path: str, filesystem: fs.FileSystem) -> list[str]:
    """The ids of a file of a table. Raises `UserError` for a damaged file."""
    found: list[str] = read_file(filesystem, path, ["id"])["id"].to_pylist()
    return found
