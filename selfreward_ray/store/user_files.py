"""Rows that users give: seed data, prompts, replies; as JSON lines, CSV, Parquet, folders or hub data sets.

Only a JSON array is read into memory as a whole, and only up to `ARRAY_BYTES`.
"""

import codecs
import csv
import io
import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".parquet", ".csv", ".csv.gz")
ARRAY_BYTES = 64 * 2**20
"""The largest file that may be one JSON array."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_JSON_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_FAULTS = {
    "string_type": "must be a text",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "too_short": "must not be empty",
    "finite_number": "must be a finite number",
}
"""What is wrong with a field, by pydantic's name of the fault."""
_MAX_CELL = 1 << 27
_CSV_REMEDY = "separate cells by commas, and put a cell with commas, quotes or line ends in double quotes"
_ARRAY_REMEDY = "write one JSON object a line (jq -c '.[]' makes such lines of an array)"


class RowError(UserError):
    """Rows that cannot be used; the message says where the fault is and what to do."""


@dataclass(frozen=True)
class Row:
    """One row of a source. `where` names file and line, or file and row, for error messages."""

    where: str
    fields: dict[str, Any]


def read_user_rows(source: str, split: str, field: str) -> Iterator[Row]:
    """All rows of `source`, the value of the recipe's `field`, in the order of its files' names; blank lines are passed
    over.

    A path that is there is read as a file or a folder (whose files end in one of `SUFFIXES`), a storage URI
    likewise; another ``owner/name`` is a hub data set, of which `split` is read. Raises `RowError` where there is
    nothing to read, and at the first row that is no JSON object in UTF-8.
    """
    found = _files(source, field)
    if found is None:
        yield from _hub_rows(source, split, field)
        return
    filesystem, files = found
    for path, name in files.items():
        yield from _file_rows(filesystem, path, name, field)


def read_some_rows(source: str, split: str, field: str) -> Iterator[Row]:
    """As `read_user_rows`. Raises `RowError` also where there is no row."""
    rows = read_user_rows(source, split, field)
    first = next(rows, None)
    if first is None:
        raise RowError(f"{field}: {source} holds no rows; write one JSON object a line")
    yield first
    yield from rows


def check_source(source: str, field: str) -> None:
    """Raise `RowError` where `read_user_rows` would find no file; the hub is not asked."""
    _files(source, field)


def _files(source: str, field: str) -> tuple[fs.FileSystem, dict[str, str]] | None:
    """The paths of the files and what messages call them; None for a hub data set."""
    try:
        filesystem, path = Folder(source).filesystem()
        found = filesystem.get_file_info(path).type
        inside = Folder(source).files() if found == fs.FileType.Directory else []
    except UserError as error:
        raise RowError(f"{field}: {error}") from None
    except OSError as error:
        raise RowError(f"{field}: cannot read {source}: {error}") from None
    if found == fs.FileType.Directory:
        files = {name: f"{source.rstrip('/')}/{name.rsplit('/', 1)[-1]}" for name in inside if name.endswith(SUFFIXES)}
        if not files:
            raise RowError(f"{field}: folder {source} holds no file that ends in {', '.join(SUFFIXES)}")
        return filesystem, files
    if found == fs.FileType.NotFound:
        if _HUB_NAME.fullmatch(source) and not source.endswith(SUFFIXES):
            return None
        raise RowError(
            f"{field}: cannot read {source}: there is no such file or folder; a hub data set is named owner/name"
        )
    return filesystem, {path: source}


def _file_rows(filesystem: fs.FileSystem, path: str, name: str, field: str) -> Iterator[Row]:
    csv_file = path.endswith((".csv", ".csv.gz"))
    read = _parquet_rows if path.endswith(".parquet") else _csv_rows if csv_file else _json_rows
    try:
        yield from read(filesystem, path, name)
    except (OSError, pa.ArrowException) as error:
        raise RowError(f"{field}: cannot read {name}: {error}; is the file whole?") from None


def _json_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    with filesystem.open_input_stream(path) as stream:  # which also decompresses, by the name's suffix
        lines = io.BufferedReader(stream, 1 << 20)
        if lines.peek(1).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            yield from _array_rows(lines, name)
            return
        # Bytes are split at "\n" alone, text would be at U+2028 too, which a JSON string may hold as it is.
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                yield Row(f"{name}:{number}", _json_object(text, f"{name}:{number}"))


def _array_rows(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """The objects of a file that is one JSON array."""
    text = stream.read(ARRAY_BYTES + 1)
    if len(text) > ARRAY_BYTES:
        raise RowError(f"{name}: is a JSON array of more than {ARRAY_BYTES >> 20} MiB; {_ARRAY_REMEDY}")
    for number, value in enumerate(_json_value(text.removeprefix(codecs.BOM_UTF8), name), start=1):
        yield Row(f"{name}: row {number}", _as_object(value, f"{name}: row {number}"))


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    return _as_object(_json_value(line.rstrip(b"\r\n"), where), where)


def _json_value(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        place = f"byte {error.object[error.start]:#04x} at place {error.start + 1}"
        raise RowError(f"{where}: is not UTF-8 text ({place}); save the file as UTF-8") from None
    except RecursionError:
        raise RowError(f"{where}: is nested too deeply; write flat messages with their parent_id") from None
    except ValueError as error:
        fault = "a number too long"
        if isinstance(error, json.JSONDecodeError):
            line = f"line {error.lineno}, " if error.lineno > 1 else ""
            fault = f"{error.msg}, {line}column {error.colno}"
        raise RowError(f"{where}: is not JSON ({fault}); write one JSON object a line") from None


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, list):
        raise RowError(f"{where}: is a JSON array; {_ARRAY_REMEDY}")
    if not isinstance(value, dict):
        raise RowError(f"{where}: is a JSON {_JSON_TYPES[type(value)]}; write one JSON object a line")
    return value


def _csv_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    """Rows with the header's fields, all of them texts. An empty cell is None."""
    csv.field_size_limit(_MAX_CELL)
    with filesystem.open_input_stream(path) as stream:
        lines = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        header, number = None, 1
        try:
            for cells in lines:
                where, number = f"{name}:{number}", lines.line_num + 1  # of the first line, if a cell has several
                if not any(cells):
                    continue
                if header is None:
                    header = _csv_header(cells, where)
                    continue
                if len(cells) != len(header):
                    raise RowError(f"{where}: has {len(cells)} cells, but the header has {len(header)}; {_CSV_REMEDY}")
                yield Row(where, {field: cell or None for field, cell in zip(header, cells, strict=True)})
        except csv.Error as error:
            raise RowError(f"{name}:{lines.line_num}: is not CSV ({error}); {_CSV_REMEDY}") from None
        except UnicodeDecodeError:
            raise RowError(f"{name}:{number}: is not UTF-8 text; save the file as UTF-8") from None


def _csv_header(cells: list[str], where: str) -> list[str]:
    twice = [field for field, count in Counter(cells).items() if count > 1]
    if twice:
        raise RowError(f"{where}: two columns are named {twice[0]!r}; rename one")
    return cells


def _parquet_rows(filesystem: fs.FileSystem, path: str, name: str) -> Iterator[Row]:
    number = 0
    with filesystem.open_input_file(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            try:
                rows = batch.to_pylist()
            except UnicodeDecodeError:
                span = f"rows {number + 1} to {number + batch.num_rows}"
                raise RowError(f"{name}: {span}: a text is not UTF-8; write the file again") from None
            for number, fields in enumerate(rows, start=number + 1):  # noqa: B020
                yield Row(f"{name}: row {number}", fields)


def _hub_rows(name: str, split: str, field: str) -> Iterator[Row]:
    try:
        from datasets import load_dataset  # takes seconds

        rows = load_dataset(name, split=split, streaming=True)
        for number, fields in enumerate(rows, start=1):
            yield Row(f"{name}: row {number}", fields)
    except Exception as error:
        raise RowError(
            f"{field}: cannot read split {split!r} of data set {name!r} from the hub, and there is no file or folder "
            f"of that name: {error}; correct the name or the split, or give a file of it"
        ) from error


class Fields(BaseModel):
    """Fields of a row, or of an object in one. Nothing is converted; fields that no model names are passed over."""

    model_config = ConfigDict(strict=True)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate; write it in valid Unicode") from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write it or remove the field")
    return text


Encodable = Annotated[str, AfterValidator(_encodable)]
"""A text that may be empty."""

Filled = Annotated[Encodable, AfterValidator(_filled)]
"""A text that must not be empty: an id, a prompt, a written verdict."""

F = TypeVar("F", bound=Fields)


def parse(model: type[F], fields: object, where: str) -> F:
    """`fields` as `model`. Raises `RowError` that names `where`, and each field."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RowError(f"{where}: {'; '.join(_explain(detail) for detail in error.errors())}") from None


def _explain(detail: Any) -> str:
    name = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "missing":
            return f"field {name!r} is missing; add it"
        case "extra_forbidden":
            return f"unknown field {name!r}; correct its name or remove it"
    where = f"field {name!r}" if name else "the row"
    return f"{where}: {_fault(detail)} (got {reprlib.repr(detail['input'])})"


def _fault(detail: Any) -> str:
    """What is wrong with a value, in words of the manual, not of the library that checks it."""
    if detail["type"] in _FAULTS:
        return _FAULTS[detail["type"]]
    message: str = detail["msg"].removeprefix("Value error, ")
    return (message[0].lower() + message[1:]).replace("input should", "must")
