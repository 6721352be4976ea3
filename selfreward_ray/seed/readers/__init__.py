"""Seed data in the forms it comes in → ranked sets. What a row is, is read from its fields (paper, section 2.1)."""

import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.simple import ChatRow, InstructionRow, PreferenceRow, RankedRow, simple_rows
from selfreward_ray.seed.readers.trees import flat_messages, nested_trees
from selfreward_ray.store.user_files import Row, RowError, read_user_rows


@dataclass(frozen=True)
class _Kind:
    """A kind of row: the fields that tell it, and what reads rows of it."""

    name: str
    told_by: tuple[str, ...]
    read: Callable[[Iterable[Row], SeedData], Iterator[RankedSet | Dropped]]


# The first that fits is meant: rows of preferences may hold `messages` too, those of chats an `instruction`.
_KINDS = (
    _Kind("Open Assistant tree", ("message_tree_id", "prompt"), nested_trees),
    _Kind("Open Assistant message", ("message_id",), flat_messages),
    _Kind("ranked set", ("responses",), partial(simple_rows, kind=RankedRow)),
    _Kind("preference", ("chosen", "rejected"), partial(simple_rows, kind=PreferenceRow)),
    _Kind("chat", ("messages",), partial(simple_rows, kind=ChatRow)),
    _Kind("instruction", ("instruction",), partial(simple_rows, kind=InstructionRow)),
)


def read_seed(options: SeedData) -> Iterator[RankedSet | Dropped]:
    """Every ranked set of ``options.source``, in its order, and what is left out of it as `Dropped`.

    Rows are read as they are asked for; only flat messages are gathered first. Ids of sets are unique. Raises
    `RowError`, which names file and line, for rows of no known kind or of two, and where there is no row at all.
    """
    rows = read_user_rows(options.named(), options.split, "seed_data.source")
    first = next(rows, None)
    if first is None:
        raise RowError(f"{options.source}: holds no rows; write one JSON object a line")
    kind = _kind_of(first)
    if kind is None:
        known = "; ".join(f"{kind.name} ({', '.join(kind.told_by)}, …)" for kind in _KINDS)
        fields = ", ".join(map(reprlib.repr, first.fields)) or "none"
        raise RowError(f"{first.where}: is no known kind of row; its fields: {fields}; known: {known}")
    yield from kind.read(_all_of(kind, first, rows), options)


def _all_of(kind: _Kind, first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    for row in chain([first], rows):
        other = _kind_of(row)
        if other not in (kind, None):  # of a row of no kind its reader says what is missing
            raise RowError(
                f"{row.where}: this row is of the kind {other.name!r}, that of {first.where} of the kind "
                f"{kind.name!r}; give a source of one kind"
            )
        yield row


def _kind_of(row: Row) -> _Kind | None:
    return next((kind for kind in _KINDS if all(field in row.fields for field in kind.told_by)), None)
