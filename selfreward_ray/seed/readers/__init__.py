"""Seed data in the formats it comes in → ranked sets. A row's columns tell what it is (paper, section 2.1)."""

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.chats import CHATS
from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.instructions import INSTRUCTIONS, PROMPTS
from selfreward_ray.seed.readers.preferences import PREFERENCES
from selfreward_ray.seed.readers.rankings import RANKINGS
from selfreward_ray.seed.readers.reading import LOOKED_AT, Reading
from selfreward_ray.seed.readers.rows import Asked, asked_rows, ranked_sets
from selfreward_ray.seed.readers.trees import TREES
from selfreward_ray.seed.readers.votes import VOTE, VOTES
from selfreward_ray.store.one_object import path_to_objects
from selfreward_ray.store.row_formats import how_to_write
from selfreward_ray.store.user_files import Row, RowError, read_user_rows

__all__ = ["FORMATS", "Asked", "Reading", "read_asked", "read_seed"]

# The first that fits is meant: preferences may hold `messages` too, chats an `instruction`.
FORMATS: tuple[Format, ...] = (*TREES, *RANKINGS, *VOTES, *PREFERENCES, VOTE, *CHATS, *INSTRUCTIONS)


def read_seed(
    wanted: SeedData, reading: Reading | None = None, most: int | None = None
) -> Iterator[RankedSet | Dropped]:
    """Every ranked set of ``wanted.source``, in its order, and what is left out of it as `Dropped`.

    `reading` then knows the format and which columns nobody used. `most` is the number of rows after which reading
    stops. Rows are read as they are asked for; only trees in messages, and sets that several rows make, are gathered
    first. Ids of sets are unique. Raises `RowError`, which names file and line, where no row has a known format, for a
    row of another one, where too many rows are bad, and where there is no row at all.
    """
    reading = reading or Reading(wanted)
    rows: Iterator[Row] = islice(read_user_rows(wanted.named(), wanted.split, "seed_data.source"), most)
    form, rows = _told(rows, FORMATS, reading, wanted.named())
    if form.trees is not None:
        yield from form.trees(rows, reading)
    else:
        yield from ranked_sets(rows, form, reading)


def read_asked(rows: Iterable[Row], reading: Reading) -> Iterator[Asked | Dropped]:
    """What rows ask, in every format of seed data and as prompts alone; replies are not looked at.

    Of a chat whose last message is the user's it is that one with all before it, of another chat its first question, or
    with ``turns=any`` each. Raises as `read_seed` does.
    """
    reading.asks_only = True
    form, rows = _told(iter(rows), (*FORMATS, *PROMPTS), reading, reading.source)
    if form.trees is None:
        yield from asked_rows(rows, form, reading)
        return
    for found in form.trees(rows, reading):
        if isinstance(found, Dropped):
            yield found
        else:
            yield Asked(found.id, f"message {found.id}", found.history, found.prompt)


def _told(
    rows: Iterator[Row], formats: Sequence[Format], reading: Reading, source: str
) -> tuple[Format, Iterator[Row]]:
    """The format of the rows, by its name in the recipe or by the first row that tells it; and all rows."""
    looked_at = list(islice(rows, LOOKED_AT))
    if not looked_at:
        raise RowError(f"{source}: holds no rows; {how_to_write(source)}")
    first = [row for row in looked_at if row.fault is None] or looked_at[:1]
    reading.check_columns(first, (name for form in formats for name in form.fields))
    asked_for = reading.wanted.format
    attributes = reading.wanted.attributes
    if attributes:
        formats = [replace(form, told_by=("response", *attributes)) if form.weighs else form for form in formats]
    known = [form for form in formats if asked_for in (None, form.name)]
    form, place = _told_by(first, known, reading)
    if form is None:
        raise _unknown(first[0], len(looked_at) == 1, formats, known, reading)
    if attributes and not form.weighs and not reading.asks_only:
        needed = ", ".join(map(repr, ("response", *attributes)))
        raise RowError(
            f"{reading.section}.attributes: {place} lacks one of {needed}, and "
            f"is of the format {form.name!r}, which they do not score; correct the names, or remove them; its columns: "
            f"{', '.join(map(reprlib.repr, reading.named(first[0])))}"
        )
    reading.format = form.name
    return form, _of_one_format(chain(looked_at, rows), form, known, reading, place)


def _unknown(row: Row, is_only: bool, formats: Sequence[Format], known: Sequence[Format], reading: Reading) -> RowError:
    """The error for a source whose first row is of none of the `known` formats, which are all `formats` or the one of
    the recipe."""
    columns = f"{reading.section}.columns={{FIELD: COLUMN}} says which column is which field"
    fields = ", ".join(map(reprlib.repr, reading.named(row))) or "none"
    held = path_to_objects(row.fields) if is_only else None
    if held is not None and not any(form.fields & row.fields.keys() for form in formats):
        return RowError(
            f"{row.where}: is one JSON object that holds several; write these one a line: jq -c '{held}' FILE "
            "> ROWS.jsonl"
        )
    if reading.wanted.format is not None:
        (wanted,) = known
        return RowError(
            f"{row.where}: is no row of {reading.section}.format={wanted.name}, which has the fields "
            f"{', '.join(wanted.told_by)}; its fields: {fields}; {columns}"
        )
    listed = "; ".join(f"{form.name} ({', '.join(form.told_by)}, …)" for form in formats)
    alone = _format_of(row, PROMPTS, reading) is not None
    return RowError(
        f"{row.where}: has no known format; its fields: {fields}; {columns}, for example {{prompt: question}}; "
        f"{'prompts without replies are for prompts.source; ' if alone else ''}known: {listed}"
    )


def _told_by(rows: Sequence[Row], known: Sequence[Format], reading: Reading) -> tuple[Format | None, str]:
    """The format of the first row that has the columns of any, and that row's place. Of several, the first of which
    some row has a value in each column: a label may be null in one row, and a column in all rows."""
    named = [reading.named(row) for row in rows]
    for row, values in zip(rows, named, strict=True):
        there = [form for form in known if form.fits(values, filled=False)]
        if there:
            filled = (form for form in there if any(form.fits(one, filled=True) for one in named))
            return next(filled, there[0]), row.where
    return None, ""


def _of_one_format(
    rows: Iterator[Row], form: Format, known: Sequence[Format], reading: Reading, first: str
) -> Iterator[Row]:
    for row in rows:
        if row.fault is None and not form.fits(reading.named(row), filled=False):
            other = _format_of(row, known, reading)
            if other is not None and not form.fields.issuperset(other.told_by):  # else its reader says what is missing
                raise RowError(
                    f"{row.where}: this row is of the format {other.name!r}, the source ({first}) of the format "
                    f"{form.name!r}; give a source of one format"
                )
        yield row


def _format_of(row: Row, known: Sequence[Format], reading: Reading) -> Format | None:
    """The format whose columns the row has with a value in each, otherwise the one whose columns it has at all."""
    values = reading.named(row)
    return next((form for filled in (True, False) for form in known if form.fits(values, filled)), None)
