"""The rows of a file of JSON: an object a line, objects over several lines, an array, or an object with all rows."""

import codecs
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from selfreward_ray.store.user_rows import Row, RowError, Unread

ARRAY_BYTES = 64 * 2**20
"""The largest file that may be one JSON array, or whose objects may spread over lines."""

_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_LINES = "write one JSON object a line"
_OF_AN_ARRAY = f"{_LINES} (jq -c '.[]' makes such lines of an array)"
_OF_OBJECTS = f"{_LINES} (jq -c . makes such lines)"
_NOT_JSON = "is not JSON"
_CUT = "is the last line, and cut off"


def json_rows(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """The rows of `stream`, as they are asked for; blank lines are passed over. `name` is the file's in messages.

    A line that is no object gives a row with a fault. An array, or objects that spread over lines, are read into memory
    as a whole. Raises `RowError` where these have a fault, or are larger than `ARRAY_BYTES`.
    """
    if stream.peek(1).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _array_rows(stream, name)
        return
    # Bytes are split at "\n" alone, text would be at U+2028 too, which a JSON string may hold as it is.
    numbered: Iterator[tuple[int, bytes]] = enumerate(stream, start=1)
    for number, line in numbered:
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        first = _line_row(text, f"{name}:{number}")
        if first.fault is not None and text.lstrip().startswith(b"{"):
            content = text + stream.read(ARRAY_BYTES + 1)
            if text.strip() == b"{" or _goes_on(content):
                yield from _spread_rows(content, name, number)
                return
            rest = chain(io.BytesIO(content + stream.readline()), stream)
            next(rest)
            numbered = enumerate(rest, start=number + 1)
        yield first
        break
    for number, line in numbered:
        if line.strip():
            yield _line_row(line, f"{name}:{number}")


def _line_row(line: bytes, where: str) -> Row:
    try:
        return Row(where, _as_object(_value(line.rstrip(b"\r\n"))))
    except _NoRow as error:
        cut = error.lacks_end and not line.endswith(b"\n")
        return Row(where, Unread(_CUT, "fetch the file again", error.fault.more) if cut else error.fault)


def _array_rows(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """The objects of a file that is one JSON array."""
    text = stream.read(ARRAY_BYTES + 1)
    if len(text) > ARRAY_BYTES:
        raise RowError(f"{name}: is a JSON array of more than {ARRAY_BYTES >> 20} MiB; {_OF_AN_ARRAY}")
    try:
        values = _value(text.removeprefix(codecs.BOM_UTF8))
    except _NoRow as error:
        raise RowError(f"{name}: {error.fault}") from None
    for number, value in enumerate(values, start=1):
        yield _object_row(value, f"{name}: row {number}")


def _object_row(value: Any, where: str) -> Row:
    try:
        return Row(where, _as_object(value))
    except _NoRow as error:
        return Row(where, error.fault)


def _goes_on(content: bytes) -> bool:
    """Whether `content` begins with an object that ends on a later line, or before another one on its own."""
    text = content.decode("utf-8", "replace").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[:end] or text[end:].lstrip(" \t\r").startswith("{")


def _spread_rows(content: bytes, name: str, first_line: int) -> Iterator[Row]:
    """Objects that spread over several lines, as programs print them for people."""
    if len(content) > ARRAY_BYTES:
        raise RowError(f"{name}: has objects over several lines in more than {ARRAY_BYTES >> 20} MiB; {_OF_OBJECTS}")
    where = f"{name}:{first_line}"
    try:
        text = _utf8(content)
    except _NoRow as error:
        raise RowError(f"{where}: {error.fault}") from None
    decoder, place, line = json.JSONDecoder(), len(text) - len(text.lstrip()), first_line
    while place < len(text):
        where = f"{name}:{line}"
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            where = f"{name}:{first_line + error.lineno - 1}"
            raise RowError(f"{where}: {_NOT_JSON} ({error.msg}, column {error.colno}); {_OF_OBJECTS}") from None
        except (ValueError, RecursionError):
            raise RowError(f"{where}: is nested too deeply, or holds a number too long; {_OF_OBJECTS}") from None
        yield _object_row(value, where)
        while end < len(text) and text[end].isspace():
            end += 1
        line += text.count("\n", place, end)
        place = end


class _NoRow(Exception):
    def __init__(self, reason: str, remedy: str = _LINES, more: str = "", lacks_end: bool = False):
        self.fault = Unread(reason, remedy, more)
        self.lacks_end = lacks_end


def _value(content: bytes) -> Any:
    text = _utf8(content)
    try:
        return json.loads(text)
    except RecursionError:
        raise _NoRow("is nested too deeply", "write flat messages with their parent_id") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        lacks_end = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        more = f"{error.msg}, {line}column {error.colno}"
        raise _NoRow(_NOT_JSON, more=more, lacks_end=lacks_end) from None
    except ValueError:
        raise _NoRow(_NOT_JSON, more="a number too long") from None


def _utf8(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        more = f"byte {error.object[error.start]:#04x} at place {error.start + 1}"
        raise _NoRow("is not UTF-8 text", "save the file as UTF-8", more) from None


def _as_object(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        raise _NoRow("is a JSON array", _OF_AN_ARRAY)
    if not isinstance(value, dict):
        raise _NoRow(f"is a JSON {_TYPES[type(value)]}")
    return value
