"""The rows of one file: JSON lines or a JSON array, CSV, TSV, Parquet or Arrow.

Rows are read as they are asked for. Only a JSON array, or objects that spread over lines, are read into memory as a
whole.
"""

import io
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.store.arrow import as_stored
from selfreward_ray.store.cell_rows import cell_rows
from selfreward_ray.store.json_rows import json_rows
from selfreward_ray.store.one_object import rows_within
from selfreward_ray.store.user_rows import Row, RowError, Unread

ENDINGS = ".jsonl, .ndjson, .json, .csv or .tsv (also with .gz, .bz2, .xz or .zst), .parquet or .arrow"
"""The names of files whose rows are read, for messages."""

_PACKED = {"": None, ".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
_ROWS_AT_A_TIME = 256
_HEAD_BYTES = 512
_PARQUET, _ARROW = "a Parquet file", "an Arrow file"
_UNPACK = "unpack it, or give its name the ending of what packed it"
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs\.github\.com/spec/", "a pointer of git-lfs, and not the file itself",
     "run git lfs pull in its clone"),
    (rb"\s*(?i:<!doctype html|<html)", "a web page", "download the file itself; the hub has it below /resolve/"),
    (rb"\x1f\x8b", "packed by gzip", _UNPACK),
    (rb"BZh[1-9]1AY&SY", "packed by bz2", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (rb"\xfd7zXZ\x00", "packed by xz", _UNPACK),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!", "an archive or a workbook", "unpack it, or save its sheet as CSV"),
    (rb"(?s:.{257})ustar(\x00|  \x00)", "a tar archive", "unpack it, and give the folder"),
    (rb"PAR1", _PARQUET, "give its name the ending .parquet"),
    (rb"ARROW1|\xff\xff\xff\xff", _ARROW, "give its name the ending .arrow"),
    (rb"SQLite format 3", "an SQLite database", "export its table as CSV or JSON lines"),
    (rb"\x80[\x02-\x05]", "a pickle", "write its rows as JSON lines"),
    (rb"\xff\xfe|\xfe\xff|[ -~]\x00[ -~]\x00", "UTF-16 text", "save it as UTF-8"),
)  # fmt: skip
"""The first bytes of files, the kind of such a file, and the remedy."""

_Reader = Callable[[fs.FileSystem, str, str, str | None, str], Iterator[Row]]


def file_rows(filesystem: fs.FileSystem, path: str, name: str, split: str | None, field: str) -> Iterator[Row]:
    """The rows of the file at `path`, which messages call `name`; blank lines are passed over.

    The ending says what the file holds; any other file is read as JSON. `split` is that of a JSON object with several.
    A line that is no object of fields in UTF-8 is a row with a fault. Raises `RowError` for a file that cannot be read
    as a whole.
    """
    endings = [ending for ending in _READERS if path.lower().endswith(ending)]
    read = _READERS[endings[0]] if endings else _text_rows
    try:
        yield from read(filesystem, path, name, split, field)
    except (OSError, pa.ArrowException, EOFError, lzma.LZMAError) as error:
        raise RowError(f"{field}: cannot read {name}: {error}; is the file whole?") from None


def has_rows(name: str) -> bool:
    """Whether the rows of a file of this name are read in a folder."""
    return name.lower().endswith(SUFFIXES)


def without_ending(name: str) -> tuple[str, str]:
    """The name of a file in two parts: without its ending, and that ending in small letters."""
    ending = max((ending for ending in SUFFIXES if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(ending)], ending


def how_to_write(source: str) -> str:
    """How rows are written into the file `source`, or into files of the folder, for the message that it has none."""
    source = source.lower()
    if source.endswith(_packed(".csv", ".tsv")):
        return "write a line with the names of the columns, and below it one line for each row"
    if source.endswith((".parquet", ".arrow")):
        return "write the file again, with its rows"
    return "write one JSON object a line"


def _check_head(head: bytes, name: str, expected: str = "") -> None:
    """Raise `RowError` if the first bytes are those of another kind of file than its name says."""
    for begins, what, remedy in _KINDS:
        if re.match(begins, head):
            if what != expected:
                raise RowError(f"{name}: is {what}; {remedy}")
            return


def _text_rows(
    filesystem: fs.FileSystem, path: str, name: str, split: str | None, field: str, kind: str = "JSON"
) -> Iterator[Row]:
    packed = _PACKED.get(re.sub(r".*(?=\.)", "", path.lower()))
    if packed:
        with filesystem.open_input_stream(path, compression=None) as stream:
            _check_head(stream.read(_HEAD_BYTES), name, f"packed by {packed}")
    with filesystem.open_input_stream(path, compression=None if packed == "xz" else packed) as stream:
        text = io.BufferedReader(_of_xz(stream) if packed == "xz" else stream, 1 << 20)
        _check_head(text.peek(_HEAD_BYTES), name)
        if kind != "JSON":
            yield from cell_rows(text, name, kind, "," if kind == "CSV" else "\t")
            return
        rows = json_rows(text, name)
        first = list(islice(rows, 2))
        if len(first) == 1 and first[0].fault is None:
            yield from rows_within(first[0], name, split, field)
        else:
            yield from first
            yield from rows


def _of_xz(stream: Any) -> Any:
    return lzma.LZMAFile(stream)  # which pyarrow does not unpack


def _parquet_rows(filesystem: fs.FileSystem, path: str, name: str, *_: Any) -> Iterator[Row]:
    with filesystem.open_input_file(path) as file:
        _check_head(file.read_at(_HEAD_BYTES, 0), name, _PARQUET)
        yield from _batch_rows(pq.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_A_TIME), name)


def _arrow_rows(filesystem: fs.FileSystem, path: str, name: str, *_: Any) -> Iterator[Row]:
    """Rows of Arrow's file form, or of the stream that the `datasets` library saves."""
    with filesystem.open_input_file(path) as file:
        head = bytes(file.read(_HEAD_BYTES))
        file.seek(0)
        _check_head(head, name, _ARROW)
        if head.startswith(b"ARROW1"):
            reader = pa.ipc.open_file(file)
            yield from _batch_rows(map(reader.get_batch, range(reader.num_record_batches)), name)
        else:
            yield from _batch_rows(pa.ipc.open_stream(file), name)


def _batch_rows(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[Row]:
    """Rows numbered through, a few of a batch at a time."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_A_TIME):
            for fields in _values(batch.slice(start, _ROWS_AT_A_TIME)):
                number += 1
                yield Row(f"{name}: row {number}", fields)


def _values(batch: pa.RecordBatch) -> list[Any]:
    """The rows of a few; one with a text that is not UTF-8 is `Unread`."""
    try:
        return list(as_stored(batch).to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows > 1:
            return [value for place in range(batch.num_rows) for value in _values(batch.slice(place, 1))]
        return [Unread("a text is not UTF-8", "write the file again")]


def _packed(*endings: str) -> tuple[str, ...]:
    return tuple(ending + packed for ending in endings for packed in _PACKED)


_READERS: dict[str, _Reader] = {
    **dict.fromkeys(_packed(".jsonl", ".ndjson", ".json"), _text_rows),
    **dict.fromkeys(_packed(".csv"), partial(_text_rows, kind="CSV")),
    **dict.fromkeys(_packed(".tsv"), partial(_text_rows, kind="TSV")),
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
}
SUFFIXES = tuple(_READERS)
"""The endings of files whose rows are read in a folder."""
