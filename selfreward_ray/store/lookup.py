"""Some rows of a table, by conditions or by their ids, and no more of its files than these rows are in."""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfreward_ray.errors import UserError
from selfreward_ray.store.arrow import as_stored
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import open_file, paths_of, side_by_side, whole_file

_FORM = re.compile(r"\s*([\w.]+)\s*(!=|>=|<=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": lambda value, wanted: str(wanted).lower() in value.lower(),
}


@dataclass(frozen=True)
class Condition:
    """``FIELD OP VALUE``, as in ``chosen.mean>=4``. For a field in a list, one value must fulfil it."""

    field: str
    sign: str
    wanted: Any
    """None for ``null``."""

    @classmethod
    def parsed(cls, text: str, schema: pa.Schema) -> Self:
        """Raises `UserError` for another form, for a field that rows of `schema` have not, and for a value of another
        type."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise UserError(
                f"--where {text!r} is not of the form 'FIELD OP VALUE' with one of {' '.join(_TESTS)} (~ is: contains)"
            )
        field, sign, value = form.groups()
        types = _fields(schema)
        if field not in types:
            near = get_close_matches(field, types, 1)
            hint = f"did you mean {near[0]}?" if near else f"they have {', '.join(types)}"
            raise UserError(f"--where {text!r}: the rows have no field {field}; {hint}")
        return cls(field, sign, _value(text, sign, value, types[field]))

    def holds(self, row: Any) -> bool:
        return self._holds(row, self.field.split("."))

    def _holds(self, value: Any, path: Sequence[str]) -> bool:
        if isinstance(value, list):
            return any(self._holds(each, path) for each in value)
        if path:
            return self._holds(None if value is None else value[path[0]], path[1:])
        if value is None or self.wanted is None:
            return (value is self.wanted) == (self.sign == "=") if self.wanted is None else self.sign == "!="
        return _TESTS[self.sign](value, self.wanted)


def _fields(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The types of the values in rows of `schema`, by their dotted names; lists add nothing to a name."""
    found: dict[str, pa.DataType] = {}

    def add(name: str, kind: pa.DataType) -> None:
        if pa.types.is_list(kind):
            add(name, kind.value_type)
        elif pa.types.is_struct(kind):
            for field in kind:
                add(f"{name}.{field.name}", field.type)
        else:
            found[name] = kind

    for field in schema:
        add(field.name, field.type)
    return found


def _value(text: str, sign: str, value: str, kind: pa.DataType) -> Any:
    if value == "null" and sign != "~":
        if sign not in ("=", "!="):
            raise UserError(f"--where {text!r}: null can only be compared by = and !=")
        return None
    if pa.types.is_string(kind):
        return value
    if pa.types.is_boolean(kind):
        if value not in ("true", "false") or sign not in ("=", "!="):
            raise UserError(f"--where {text!r}: write =true or =false for a field that is true or false")
        return value == "true"
    try:
        number = float(value)
    except ValueError:
        number = None
    if number is None or sign == "~":
        raise UserError(f"--where {text!r}: the field holds numbers; compare it with a number by = != < <= > >=")
    return number


@dataclass(frozen=True)
class Group:
    """Rows of a row group of a file."""

    path: str
    number: int
    rows: tuple[int, ...]
    """Their places in the group."""


def groups_where(table: Folder, conditions: Sequence[str] = ()) -> Iterator[Group]:
    """The rows that fulfil all `conditions`, from the columns that these name alone, in the order of the files' names.

    Raises `UserError` as `Condition.parsed` does, and for a damaged file.
    """
    filesystem, _ = table.filesystem()

    def look(path: str) -> list[Group]:
        with open_file(filesystem, path) as file:
            tests = [Condition.parsed(text, file.schema_arrow) for text in conditions]
            columns = [name for test in tests for name in _stored(file, test.field)]
            found = []
            for number in range(file.num_row_groups):
                count = file.metadata.row_group(number).num_rows
                rows = _plain(file, number, columns).to_pylist() if tests else [{}] * count
                places = tuple(i for i, row in enumerate(rows) if all(test.holds(row) for test in tests))
                found.append(Group(path, number, places))
            return found

    yield from (group for found in side_by_side(look, paths_of(table)) for group in found if group.rows)


def _plain(file: pq.ParquetFile, group: int, columns: list[str] | None = None) -> pa.Table:
    return as_stored(file.read_row_group(group, columns, use_threads=False))


def _stored(file: pq.ParquetFile, field: str) -> list[str]:
    """The names in the file of the column of a field."""
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    return [path for path in paths if re.sub(r"\.list\.(element|item)(?=\.|$)", "", path) == field]


def read_group(table: Folder, group: Group) -> list[dict[str, Any]]:
    """The rows of a group, as plain dicts."""
    filesystem, _ = table.filesystem()
    with open_file(filesystem, group.path) as file:
        rows = _plain(file, group.number)
        return [row for place in group.rows for row in rows.slice(place, 1).to_pylist()]


def rows_of(table: Folder, name: str, columns: list[str] | None = None) -> list[pa.Table]:
    """The rows whose id is `name`, or begins with it and a slash: a part of each file that has some.

    Reads each file's footer and only the row groups that may hold such ids. Raises `UserError` for a damaged file.
    """
    return rows_by(table, (pc.field("id") == name) | below(name), columns)


def below(name: str) -> pc.Expression:
    """Whether an id begins with `name` and a slash, as a condition that row groups can be left out by."""
    field = pc.field("id")
    return (field >= f"{name}/") & (field < f"{name}0")  # "0" follows "/"


def rows_by(table: Folder, condition: pc.Expression, columns: list[str] | None = None) -> list[pa.Table]:
    """As `rows_of`, for any condition that Arrow tests."""
    filesystem, _ = table.filesystem()

    def look(path: str) -> pa.Table:
        with whole_file(path):
            found = pq.read_table(path, columns=columns, filters=condition, filesystem=filesystem, use_threads=False)
            return as_stored(found)

    return [found for found in side_by_side(look, paths_of(table)) if found.num_rows]
