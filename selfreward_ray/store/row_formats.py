"""The rows of one file: JSON lines or a JSON array, CSV, TSV, Parquet or Arrow.

Rows are read as they are asked for. Only a JSON array, or objects that spread over lines, are read into memory as a
whole, and only up to `ARRAY_BYTES`.
"""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.store.user_rows import Row, RowError

ENDINGS = ".jsonl, .ndjson, .json, .csv or .tsv (also with .gz, .bz2 or .zst), .parquet or .arrow"
"""The names of files whose rows are read, for messages."""
ARRAY_BYTES = 64 * 2**20
"""The largest file that may be one JSON array, or whose objects may spread over lines."""

_PACKED = ("", ".gz", ".bz2", ".zst")  # which pyarrow unpacks by the name's ending
_JSON_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_MAX_CELL = 1 << 27
_ROWS_AT_A_TIME = 256
_ARRAY_REMEDY = "write one JSON object a line (jq -c '.[]' makes such lines of an array)"
_SPREAD_REMEDY = "write one JSON object a line (jq -c . makes such lines)"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LFS_POINTER_BYTES = 1024

_Reader = Callable[[fs.FileSystem, str, str], Iterator[Row]]


def file_rows(filesystem: fs.FileSystem, path: str, name: str, field: str) -> Iterator[Row]:
    """The rows of the file at `path`, which messages call `name`; blank lines are passed over.

    The ending says what the file holds; any other file is read as JSON. Raises `RowError` at the first row that is no
    object of fields in UTF-8, and for a file that cannot be read as a whole.
    """
    endings = [ending for ending in _READERS if path.endswith(ending)]
    read = _READERS[endings[0]] if endings else _json_rows
    try:
        _refuse_pointer(filesystem, path, name)
        yield from read(filesystem, path, name)
    except (OSError, pa.ArrowException) as error:
        raise RowError(f"{field}: cannot read {name}: {error}; is the file whole?") from None


def how_to_write(source: str) -> str:
    """How rows are written into the file `source`, or into files of the folder, for the message that it has none."""
    if source.endswith(_packed(".csv", ".tsv")):
        return "write a line with the names of the columns, and below it one line for each row"
    if source.endswith((".parquet", ".arrow")):
        return "write the file again, with its rows"
    return "write one JSON object a line"


def _refuse_pointer(filesystem: fs.FileSystem, path: str, name: str) -> None:
    """Raise `RowError` for what a clone holds in the place of a large file that was not fetched."""
    size = filesystem.get_file_info(path).size
    if not size or size > _LFS_POINTER_BYTES:
        return
    with filesystem.open_input_stream(path, compression=None) as stream:
        if bytes(stream.read(len(_LFS_POINTER))) == _LFS_POINTER:
            raise RowError(f"{name}: is a pointer of git-lfs, and not the file itself; run git lfs pull in its clone")


def _json_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    with filesystem.open_input_stream(path) as stream:
        lines = io.BufferedReader(stream, 1 << 20)
        if lines.peek(1).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            yield from _array_rows(lines, name)
            return
        # Bytes are split at "\n" alone, text would be at U+2028 too, which a JSON string may hold as it is.
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip() == b"{":
                yield from _spread_rows(text + lines.read(ARRAY_BYTES + 1), name, number)
                return
            if text.strip():
                yield Row(f"{name}:{number}", _json_object(text, f"{name}:{number}"))


def _array_rows(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """The objects of a file that is one JSON array."""
    text = stream.read(ARRAY_BYTES + 1)
    if len(text) > ARRAY_BYTES:
        raise RowError(f"{name}: is a JSON array of more than {ARRAY_BYTES >> 20} MiB; {_ARRAY_REMEDY}")
    for number, value in enumerate(_json_value(text.removeprefix(codecs.BOM_UTF8), name), start=1):
        yield Row(f"{name}: row {number}", _as_object(value, f"{name}: row {number}"))


def _spread_rows(content: bytes, name: str, first_line: int) -> Iterator[Row]:
    """Objects that spread over several lines, as programs print them for people."""
    if len(content) > ARRAY_BYTES:
        raise RowError(f"{name}: has objects over several lines in more than {ARRAY_BYTES >> 20} MiB; {_SPREAD_REMEDY}")
    where = f"{name}:{first_line}"
    text = _utf8(content, where)
    decoder, place, line = json.JSONDecoder(), len(text) - len(text.lstrip()), first_line
    while place < len(text):
        where = f"{name}:{line}"
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            where = f"{name}:{first_line + error.lineno - 1}"
            raise RowError(f"{where}: is not JSON ({error.msg}, column {error.colno}); {_SPREAD_REMEDY}") from None
        except (ValueError, RecursionError):
            fault = "is nested too deeply, or holds a number too long"
            raise RowError(f"{where}: {fault}; {_SPREAD_REMEDY}") from None
        yield Row(where, _as_object(value, where))
        while end < len(text) and text[end].isspace():
            end += 1
        line += text.count("\n", place, end)
        place = end


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    return _as_object(_json_value(line.rstrip(b"\r\n"), where), where)


def _json_value(content: bytes, where: str) -> Any:
    text = _utf8(content, where)
    try:
        return json.loads(text)
    except RecursionError:
        raise RowError(f"{where}: is nested too deeply; write flat messages with their parent_id") from None
    except ValueError as error:
        fault = "a number too long"
        if isinstance(error, json.JSONDecodeError):
            line = f"line {error.lineno}, " if error.lineno > 1 else ""
            fault = f"{error.msg}, {line}column {error.colno}"
        raise RowError(f"{where}: is not JSON ({fault}); write one JSON object a line") from None


def _utf8(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {error.object[error.start]:#04x} at place {error.start + 1}"
        raise RowError(f"{where}: is not UTF-8 text ({place}); save the file as UTF-8") from None


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, list):
        raise RowError(f"{where}: is a JSON array; {_ARRAY_REMEDY}")
    if not isinstance(value, dict):
        raise RowError(f"{where}: is a JSON {_JSON_TYPES[type(value)]}; write one JSON object a line")
    return value


def _cell_rows(filesystem: fs.FileSystem, path: str, name: str, kind: str, between: str) -> Iterator[Row]:
    """Rows with the header's fields, all of them texts. An empty cell is None."""
    csv.field_size_limit(_MAX_CELL)
    apart = "commas" if between == "," else "tabs"
    remedy = f"separate cells by {apart}, and put a cell with {apart}, quotes or line ends in double quotes"
    with filesystem.open_input_stream(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        lines = csv.reader(text, strict=True, delimiter=between)
        header, number = None, 1
        try:
            for cells in lines:
                where, number = f"{name}:{number}", lines.line_num + 1  # of the first line, if a cell has several
                if not any(cells):
                    continue
                if header is None:
                    header = _header(cells, where)
                    continue
                if len(cells) != len(header):
                    raise RowError(f"{where}: has {len(cells)} cells, but the header has {len(header)}; {remedy}")
                yield Row(where, {field: cell or None for field, cell in zip(header, cells, strict=True)})
        except csv.Error as error:
            raise RowError(f"{name}:{lines.line_num}: is not {kind} ({error}); {remedy}") from None
        except UnicodeDecodeError:
            raise RowError(f"{name}:{number}: is not UTF-8 text; save the file as UTF-8") from None


def _header(cells: list[str], where: str) -> list[str]:
    twice = [field for field, count in Counter(cells).items() if count > 1]
    if twice:
        raise RowError(f"{where}: two columns are named {twice[0]!r}; rename one")
    return cells


def _parquet_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    with filesystem.open_input_file(path) as file:
        yield from _batch_rows(pq.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_A_TIME), name)


def _arrow_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    """Rows of Arrow's file form, or of the stream that the `datasets` library saves."""
    with filesystem.open_input_file(path) as file:
        in_file_form = bytes(file.read(6)) == b"ARROW1"
        file.seek(0)
        if in_file_form:
            reader = pa.ipc.open_file(file)
            yield from _batch_rows(map(reader.get_batch, range(reader.num_record_batches)), name)
        else:
            yield from _batch_rows(pa.ipc.open_stream(file), name)


def _batch_rows(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[Row]:
    """Rows numbered through, a few of a batch at a time."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_A_TIME):
            few = batch.slice(start, _ROWS_AT_A_TIME)
            try:
                rows = few.to_pylist()
            except UnicodeDecodeError:
                span = f"rows {number + 1} to {number + few.num_rows}"
                raise RowError(f"{name}: {span}: a text is not UTF-8; write the file again") from None
            for fields in rows:
                number += 1
                yield Row(f"{name}: row {number}", fields)


def _packed(*endings: str) -> tuple[str, ...]:
    return tuple(ending + packed for ending in endings for packed in _PACKED)


_READERS: dict[str, _Reader] = {
    **dict.fromkeys(_packed(".jsonl", ".ndjson", ".json"), _json_rows),
    **dict.fromkeys(_packed(".csv"), partial(_cell_rows, kind="CSV", between=",")),
    **dict.fromkeys(_packed(".tsv"), partial(_cell_rows, kind="TSV", between="\t")),
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
}
SUFFIXES = tuple(_READERS)
"""The endings of files whose rows are read in a folder."""
