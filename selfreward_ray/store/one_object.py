"""Read the rows of a file that is one JSON object: in a list under a name, by columns, or by splits.

Only an object in one of these forms is taken apart; any other is a row.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from selfreward_ray.store.splits import split_remedy, split_told_by
from selfreward_ray.store.user_rows import Row, RowError

_LISTS = ("data", "rows", "examples", "instances", "items", "records", "samples")
"""Names under which programs write all rows of a file."""
_ABOUT = (
    "version", "name", "title", "description", "license", "source", "url", "language", "date", "created", "created_at",
    "info", "meta", "metadata", "schema", "features", "count", "total", "num_rows", "size",
)  # fmt: skip
"""Names of further fields, which describe the file."""

_SPEAKERS = ("role", "from", "speaker", "author")
"""Names of which each message has one."""

_Objects = Sequence[dict[str, Any]]


def rows_within(only: Row, name: str, split: str | None, field: str) -> Iterator[Row]:
    """The rows of the file `name`, which holds the object `only` and nothing else: that object, or those within it.

    Of several splits `split` is taken. Raises `RowError` if it is not there.
    """
    found = _named_list(only.fields) or _split(only.fields, name, split, field) or _from_columns(only.fields)
    if not found:
        yield only
    for number, fields in enumerate(found, start=1):
        yield Row(f"{name}: row {number}", fields)


def path_to_objects(fields: dict[str, Any], depth: int = 3) -> str | None:
    """Where an object holds several others, as a path of jq (``."a"."b"[]``); None if in no place or in several."""
    if len(fields) > 1 and _are_alike(list(fields.values())):
        return ".[]"
    found = [f".{json.dumps(name)}[]" for name, value in fields.items() if _are_alike(value) and len(value) > 1]
    for name, value in fields.items():
        below = path_to_objects(value, depth - 1) if isinstance(value, dict) and depth else None
        found += [f".{json.dumps(name)}{below.removeprefix('.') if below == '.[]' else below}"] if below else []
    return found[0] if len(found) == 1 else None


def _named_list(fields: dict[str, Any]) -> _Objects:
    """The objects, or pandas' lists of values, under one of `_LISTS`."""
    (name, *others) = [name for name in fields if name not in _ABOUT] or [""]
    rows = fields.get(name)
    if name in _LISTS and not others and _is_objects(rows):
        return rows
    columns, rows = fields.get("columns"), fields.get("data")
    if set(fields) - {"index"} != {"columns", "data"} or not _is_texts(columns) or not isinstance(rows, list):
        return ()
    whole = all(isinstance(values, list) and len(values) == len(columns) for values in rows)
    return [dict(zip(columns, values, strict=True)) for values in rows] if whole else ()


def _split(fields: dict[str, Any], name: str, wanted: str | None, field: str) -> _Objects:
    """The objects of a split: all of the object's lists are named as splits."""
    splits = {key: value for key, value in fields.items() if key not in _ABOUT}
    told = {key: split_told_by(key) for key in splits}
    if not splits or not all(told.values()) or not all(map(_is_objects, splits.values())):
        return ()
    part = (wanted or "").rpartition("/")[2]  # behind its configuration
    if wanted is None and len(splits) == 1:
        (part,) = splits
    chosen = [key for key in splits if key == part] or [key for key in splits if told[key] == part]
    if len(chosen) != 1:
        there = "several splits" if wanted is None or chosen else f"no split {wanted!r}"
        raise RowError(f"{name}: is a JSON object with {there}; it has {', '.join(splits)}; {split_remedy(field)}")
    rows: _Objects = splits[chosen[0]]
    return rows


def _from_columns(fields: dict[str, Any]) -> _Objects:
    """Rows of lists of equal lengths, or of pandas' objects with the rows' numbers as names."""
    values = list(fields.values())
    if values and all(isinstance(value, dict) and value and _are_numbers(value) for value in values):
        numbers = values[0].keys()
        if all(value.keys() == numbers for value in values):
            return [{name: value[number] for name, value in fields.items()} for number in numbers]
    if fields and _are_numbers(fields) and all(isinstance(value, dict) for value in values):
        return values
    lists = len(values) > 1 and all(isinstance(value, list) and len(value) > 1 for value in values)
    # Lists of objects are the messages of one row.
    if not lists or len({len(value) for value in values}) > 1 or any(map(_is_objects, values)):
        return ()
    return (
        [dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True)]
        if any(map(_is_texts, values))
        else ()
    )


def _are_numbers(names: dict[str, Any]) -> bool:
    return all(name.isdecimal() for name in names)


def _are_alike(values: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether these are objects with a name in common, as rows are; with a role they are the messages of one row."""
    if not _is_objects(values):
        return False
    common = set.intersection(*(set(value) for value in values))
    return bool(common) and common.isdisjoint(_SPEAKERS)


def _is_objects(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
