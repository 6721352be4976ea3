"""Records to Arrow and back: the only place that knows how a dataclass becomes a Parquet row."""

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar, cast

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from selfreward_ray.errors import UserError

R = TypeVar("R")
B = TypeVar("B", pa.Table, pa.RecordBatch)

_PRIMITIVES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(arrow_schema(cast(Any, hint))))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return pa.string()
    if origin is tuple and arguments[1:] == (...,):
        return pa.list_(_arrow_type(arguments[0]))
    if origin is types.UnionType and len(arguments) == 2 and arguments[1] is types.NoneType:
        return _arrow_type(arguments[0])
    raise TypeError(f"no Arrow type for {hint!r}")


@cache
def arrow_schema(record: Any) -> pa.Schema:
    """The schema of a record class, fixed by its annotations and so equal in every file of a table."""
    hints = typing.get_type_hints(record)
    return pa.schema([(field.name, _arrow_type(hints[field.name])) for field in dataclasses.fields(record)])


@cache
def _adapter(record: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record)


def to_table(records: list[R], record: type[R]) -> pa.Table:
    """Arrow table of `records`, one row each."""
    adapter = _adapter(cast(Any, record))
    # Not dataclasses.asdict: it copies every token id by itself, and takes most of a block's time.
    rows = [adapter.dump_python(r) for r in records]
    return pa.Table.from_pylist(rows, schema=arrow_schema(cast(Any, record)))


def as_stored(rows: B) -> B:
    """`rows` whose values of extension types are what the file stores.

    A library that is imported may have registered a class that makes these values. Ray Data's makes objects from
    pickles, which run code. Raises `UserError` for a column that has such values too deep inside.
    """
    if not any(_is_made(field.type) for field in rows.schema):
        return rows
    plain = [field.with_type(_stored(field.type)) for field in rows.schema]
    for field in plain:
        if _is_made(field.type):
            raise UserError(f"column {field.name!r} has the type {field.type}, which is not read; leave the column out")
    return rows.cast(pa.schema(plain))


def _is_made(kind: pa.DataType) -> bool:
    """Whether a class in Python makes values of this type, or of one inside it."""
    if isinstance(kind, pa.ExtensionType):
        return True
    if pa.types.is_dictionary(kind):
        return _is_made(kind.value_type)
    return any(_is_made(kind.field(number).type) for number in range(kind.num_fields))


def _stored(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.ExtensionType):
        return _stored(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_stored(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_stored(kind.value_type)))
    return kind


def from_rows(rows: list[dict[str, Any]], record: type[R]) -> list[R]:
    """Records of plain dicts. Raises `pydantic.ValidationError` where a row does not fit."""
    adapter = _adapter(cast(Any, record))
    return [adapter.validate_python(row) for row in rows]


def from_table(table: pa.Table, record: type[R], source: str = "a table") -> list[R]:
    """Records of an Arrow table, which was read from `source`.

    Raises `UserError` if its rows have another form, as those of an earlier version may have.
    """
    try:
        return from_rows(as_stored(table).to_pylist(), record)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, fault["loc"]))
        raise UserError(
            f"{source}: its rows are no {record.__name__} rows of this version ({field}: {fault['msg']}); make that "
            "step again with this version"
        ) from None
