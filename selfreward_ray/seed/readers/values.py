"""Reads texts, numbers and lists out of a row's columns. Whatever does not fit makes the row a bad one.

Reasons name a column, without the places of lists in it, so that they can be counted.
"""

import math
from collections.abc import Sequence
from typing import Any

from selfreward_ray.seed.readers.exchanges import Values
from selfreward_ray.seed.readers.reading import BadRow

ENDS = ("finished", "finish_reason", "stop_reason", "truncated")
"""Columns that say whether a model ended its reply."""
OTHER_THOUGHTS = "its thoughts are not texts, one for each reply"
NO_VALUES = ("", "n/a", "na", "nan", "none", "null")
"""Texts that stand for no value, in lower case."""


def is_empty(value: object) -> bool:
    """Whether a column says nothing: null, an empty text, an empty list or object."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def as_text(value: object, name: str) -> str:
    """The value of the column `name`, which must be a text."""
    if value is None:
        raise BadRow(f"field {name!r} is null")
    if not isinstance(value, str):
        raise BadRow(f"field {name!r} is not a text")
    return value


def text(values: Values, name: str) -> str:
    """A text, which may be empty."""
    if name not in values:
        raise BadRow(f"field {name!r} is missing")
    return as_text(values[name], name)


def optional_text(values: Values, name: str) -> str:
    """A text; empty where the column is missing or null."""
    return "" if values.get(name) is None else as_text(values[name], name)


def number(value: object, name: str) -> float | None:
    """A number, or a text that is one, as in a CSV file; None for null, and for words that say so ("N/A")."""
    if value is None or (isinstance(value, str) and value.strip().lower() in NO_VALUES):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadRow(f"field {name!r} is not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise BadRow(f"field {name!r} is not a number") from None
    if not math.isfinite(found):
        raise BadRow(f"field {name!r} is not a finite number")
    return found


def whole_number(value: object, name: str) -> int | None:
    """A whole number from 0 on, also written as ``1.0`` or, in a CSV file, as a text; None for null."""
    found = number(value, name)
    if found is None:
        return None
    if found != int(found) or not 0 <= found < 2**31:
        raise BadRow(f"field {name!r} is not a whole number from 0 on")
    return int(found)


def is_cut_off(values: Values) -> bool:
    """Whether the row says that its reply was cut off, as we or servers of models say it."""
    said = {str(values.get(name)).lower() for name in ("finish_reason", "stop_reason")}
    marked = values.get("finished") is False or values.get("truncated") is True
    return marked or not said.isdisjoint(("length", "max_tokens"))


def thoughts_of(values: Values, count: int, names: Sequence[str]) -> list[str]:
    """The thoughts before `count` replies, from the first of the columns `names` that has some: a list has one for
    each, and a text is that before the last."""
    held = next((values[name] for name in names if not is_empty(values.get(name))), None)
    if held is None:
        return [""] * count
    each = held if isinstance(held, list) else [*[None] * (count - 1), held]
    if len(each) != count or not all(one is None or isinstance(one, str) for one in each):
        raise BadRow(OTHER_THOUGHTS)
    return [one or "" for one in each]


def items(values: Values, name: str) -> list[Any]:
    """A list that is not empty."""
    if name not in values:
        raise BadRow(f"field {name!r} is missing")
    value = values[name]
    if value is None:
        raise BadRow(f"field {name!r} is null")
    if not isinstance(value, list):
        raise BadRow(f"field {name!r} is not a list")
    if not value:
        raise BadRow(f"field {name!r} is empty")
    return value


def objects(values: Values, name: str) -> list[Values]:
    """A list of objects, not empty."""
    found = items(values, name)
    if not all(isinstance(item, dict) for item in found):
        raise BadRow(f"field {name!r} is not a list of objects")
    return found
