"""One reading of a source: what the recipe says about its rows, which rows are bad, and which columns nobody used."""

import ast
import difflib
import json
import re
import reprlib
from collections.abc import Iterable
from typing import Any, Literal

from selfreward_ray.recipe.seed_data import RowReading, SeedData, value_key
from selfreward_ray.records import Dropped
from selfreward_ray.store.user_files import Row, RowError

_MESSAGE_KEYS = ("role", "content")
"""What `columns` names inside messages."""
_ITEM_KEYS = (*_MESSAGE_KEYS, "text", "rank", "score", "verdict")
"""What `columns` may name inside messages and inside the replies of a list."""
_MESSAGE_TELLS = frozenset(("role", "from", "speaker"))
"""Keys of which each message has one."""
LOOKED_AT = 100
"""Number of first rows among which one that tells the format is looked for: some of them may be bad."""
_MESSAGE_IN_TEXT = re.compile(r"""\s*\[\s*\{\s*['"](?:role|from|speaker|content|value)['"]\s*:""")
UNREAD_MESSAGES = "a text holds messages in a form that is not read; write the rows as JSON lines or Parquet"
_SHOWN = 3
"""How many reasons are shown where there are too many bad rows."""


class BadRow(Exception):
    """A row whose content cannot be used. The message is the reason, a fixed text."""


class LeftOut(Exception):
    """A sound row that gives no set. The message is the reason, a fixed text."""


class Reading:
    """What is known of one reading of a source; its sentences and figures are complete after the last row.

    `section` is the recipe's section that says how rows are read, `source` what names them: a field or an option.
    """

    def __init__(self, wanted: SeedData, section: str = "seed_data", source: str = ""):
        self.wanted = wanted
        self.section = section
        self.source = source or f"{section}.source"
        self.format: str | None = None
        self.asks_only = False
        """Whether prompts alone are wanted, so that replies are not looked at."""
        self.where = ""
        """The place of the row that is being read."""
        self.rows = 0
        """Number of rows that were read."""
        self._bad: dict[str, list[str]] = {}  # the first place of each reason, and one entry for each further row
        self._unused: dict[str, str] = {}
        self._said: list[str] = []

    @classmethod
    def of_prompts(
        cls, options: RowReading, source: str = "", split: str = "", turns: Literal["first", "any"] = "first"
    ) -> "Reading":
        """A reading for prompts alone, which have no language and no ranks. With an empty `split` rows of any are
        read."""
        known = {name: getattr(options, name) for name in RowReading.model_fields}
        return cls(SeedData(**known, language=None, turns=turns, split=split), "prompts", source)

    def begin(self, row: Row) -> dict[str, Any]:
        """The columns of a row under the names of `columns`, without those of `ignore`, with the messages that a text
        holds. Counts the row. Raises `BadRow` where it has no columns."""
        self.where = row.where
        self.rows += 1
        if row.fault is not None and self.wanted.bad_rows == "drop":
            raise BadRow(row.fault.reason)
        return {name: _messages_in(value) for name, value in self.named(row).items()}

    def named(self, row: Row) -> dict[str, Any]:
        """As `begin`, for a row of which only the columns are looked at."""
        columns = self.wanted.columns | {name: name for name in self.wanted.attributes if "." in name}
        used = set(columns.values())
        fields: dict[str, Any] = {}
        for name, value in row.fields.items():
            if name not in self.wanted.ignore:
                fields.update(_left(name, value, used))
        for target, source in columns.items():
            found, value = _at(row.fields, source)
            if found:
                fields[target] = value
            elif target not in _MESSAGE_KEYS:
                fields.pop(target, None)  # another column of that name is not meant
        for name in self.wanted.values.keys() & fields.keys():
            fields[name] = self.meaning(name, fields[name])
        return fields

    def meaning(self, name: str, value: Any) -> Any:
        """What the recipe says that a value of the field `name` means; otherwise the value itself."""
        known = self.wanted.values.get(name, {})
        return known.get(value_key(value), value) if isinstance(value, str | int | float) else value

    def inside(self, item: dict[str, Any], name: str, usual: tuple[str, ...]) -> Any:
        """The value of the field `name` of a reply in a list, in the key of `columns` or in the first of the `usual`
        ones that says something; None if it has none."""
        if name in self.wanted.columns and (found := _at(item, self.wanted.columns[name]))[0]:
            return found[1]
        return next((item[key] for key in usual if item.get(key) is not None), None)

    def used_inside(self) -> set[str]:
        """The keys that `inside` may look into by `columns`."""
        return {self.wanted.columns[name].partition(".")[0] for name in _ITEM_KEYS if name in self.wanted.columns}

    def check_columns(self, rows: Iterable[Row], known: Iterable[str]) -> None:
        """Raise `RowError` where `columns` names a field that no format has, or a column that none of `rows` has."""
        known = sorted({*known, *_ITEM_KEYS})
        rows = [row for row in rows if row.fault is None]
        for name in self.wanted.values:
            if name not in known:
                raise RowError(f"{self.section}.values: no format has a field {name!r}; known: {', '.join(known)}")
        for target, source in self.wanted.columns.items():
            if target in _MESSAGE_KEYS:
                continue
            if target not in known:
                near = difflib.get_close_matches(target, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise RowError(f"{self.section}.columns: no format has a field {target!r}; {hint}")
            if rows and not any(_at(row.fields, source)[0] or _in_items(row.fields, target, source) for row in rows):
                there = ", ".join(map(reprlib.repr, rows[0].fields)) or "none"
                raise RowError(
                    f"{self.section}.columns: {rows[0].where} has no column {source!r} for {target!r}; its columns: "
                    f"{there}"
                )

    def key(self, name: str, usual: tuple[str, ...]) -> tuple[str, ...]:
        """The keys under which messages may hold `name`: the one of `columns`, or the `usual` ones."""
        return (self.wanted.columns[name],) if name in self.wanted.columns else usual

    def dropped(self, reason: BadRow | LeftOut) -> Dropped:
        """The row that is being read, as a bad one or as a sound one that gives no set. Raises as `bad` does."""
        return self.bad(str(reason)) if isinstance(reason, BadRow) else Dropped(self.where, "seed", str(reason))

    def bad(self, reason: str, more: str = "") -> Dropped:
        """The row that is being read, left out for `reason`. Raises `RowError` under ``bad_rows=stop``, which also
        shows `more`, of this row alone."""
        if self.wanted.bad_rows == "stop":
            shown = f"{reason}: {more}" if more else reason
            raise RowError(
                f"{self.where}: {shown}; correct the row, or leave such rows out with {self.section}.bad_rows=drop"
            )
        self._bad.setdefault(reason, []).append(self.where)
        return Dropped(self.where, "seed", reason)

    def unused(self, name: str) -> None:
        """Note that nobody uses a column, to be reported once."""
        if name not in self.wanted.ignore:
            self._unused.setdefault(name, self.where)

    def say(self, sentence: str) -> None:
        """Keep a sentence about the source for the user."""
        self._said.append(f"{self.source}: {sentence}")

    def refuse(self, name: str, fault: str, remedy: str = "") -> RowError:
        """The error for a column that changes what a row means and that is not used here."""
        ignore = f"{self.section}.ignore=[{name}] leaves it out"
        return RowError(f"{self.where}: column {name!r} {fault}; {f'{remedy}, or ' if remedy else ''}{ignore}")

    def check_share(self) -> None:
        """Raise `RowError` if more rows are bad than the recipe allows. For the end of the reading."""
        bad, limit = sum(map(len, self._bad.values())), self.wanted.bad_share
        if not bad or bad <= limit * self.rows:
            return
        reasons = sorted(self._bad.items(), key=lambda item: -len(item[1]))[:_SHOWN]
        shown = "; ".join(f"{len(places)} × {reason} (first: {places[0]})" for reason, places in reasons)
        raise RowError(
            f"{self.source}: {bad} of {self.rows} rows cannot be used, more than {self.section}.bad_share="
            f"{limit:g} allows: {shown}; correct them, name the format or the columns ({self.section}.format, "
            f"{self.section}.columns), or raise {self.section}.bad_share to leave them out"
        )

    def notes(self) -> list[str]:
        """Sentences for the user, after the last row: what was kept for them, and which columns nobody used, with what
        to do about them."""
        if not self._unused:
            return self._said
        first, where = next(iter(self._unused.items()))
        names = ", ".join(map(reprlib.repr, self._unused))
        return [
            *self._said,
            f"{self.source}: not used by the format {self.format!r}: {names} (first in {where}); "
            f"{self.section}.columns={{FIELD: {first}}} says what a column is, {self.section}.ignore="
            f"[{', '.join(self._unused)}] leaves it out without this line",
        ]

    def figures(self) -> dict[str, Any]:
        """For a manifest: the format, the number of bad rows, and the columns that nobody used; empty for no format."""
        if self.format is None:
            return {}
        bad = sum(map(len, self._bad.values()))
        return {"reading": {"format": self.format, "bad_rows": bad, "unused_columns": list(self._unused)}}


def _messages_in(value: Any) -> Any:
    """The messages that a text holds as JSON, in Python's or numpy's form, as in a CSV file; any other value as it is.

    Raises `BadRow` for a list of messages in yet another form.
    """
    if not isinstance(value, str) or not re.match(r"\s*\[\s*\{", value):
        return value
    found = listed(value)
    if found is not None:
        return found if all(isinstance(one, dict) and _MESSAGE_TELLS & one.keys() for one in found) else value
    if value.rstrip().endswith("]") and _MESSAGE_IN_TEXT.match(value):
        raise BadRow(UNREAD_MESSAGES)
    return value


def listed(text: str) -> list[Any] | None:
    """The list that a text is in JSON, in Python's or in numpy's form; None if it is none."""
    for read in (json.loads, ast.literal_eval, _numpy_list):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _numpy_list(text: str) -> Any:
    """The list in a text as numpy prints it, with a line end between two objects instead of a comma."""
    return ast.literal_eval(re.sub(r"\}\n\s*\{", "}, {", text))


def _left(name: str, value: Any, used: set[str]) -> dict[str, Any]:
    """What `columns` leaves of a column: nothing, the whole, or the fields of an object that it does not name."""
    if name in used:
        return {}
    if not any(path.startswith(f"{name}.") for path in used):
        return {name: value}
    left: dict[str, Any] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        left.update(_left(f"{name}.{key}", inner, used))
    return left


def _in_items(fields: dict[str, Any], target: str, source: str) -> bool:
    """Whether `source` is a key of the objects in a list, such as the score of each response."""
    lists = (value for value in fields.values() if target in _ITEM_KEYS and isinstance(value, list))
    return any(isinstance(item, dict) and _at(item, source)[0] for items in lists for item in items)


def _at(fields: dict[str, Any], column: str) -> tuple[bool, Any]:
    """Whether there is such a column, and its value; ``a.b`` is the field ``b`` of the object ``a``."""
    if column in fields:
        return True, fields[column]
    value: Any = fields
    for name in column.split("."):
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return False, None
    return True, value
