"""Rows that users give: seed data, prompts, replies; in files, folders or hub data sets."""

from collections.abc import Iterator, Mapping
from functools import cache

from selfreward_ray.reporting.progress import warn
from selfreward_ray.store.data_folder import find_files
from selfreward_ray.store.row_formats import file_rows, how_to_write
from selfreward_ray.store.user_rows import Row as Row
from selfreward_ray.store.user_rows import RowError as RowError


def read_user_rows(source: str, split: str | None, field: str) -> Iterator[Row]:
    """All rows of `source`, the value of the recipe's `field`, in the order of its files' paths; blank lines are passed
    over.

    A path that is there is read as a file or a folder, a storage URI likewise; another ``owner/name`` is a hub data
    set. Of folders and hub data sets `split` is read and no other, ``config/split`` where there are several
    configurations; None is the only split. Files of a folder that are not read are named once. Raises `RowError` where
    there is nothing to read. A line that is no object of fields in UTF-8 is a row with a fault. The names of folders
    such as ``lang=en`` are columns of the rows below them.
    """
    found = find_files(source, split, field)
    if found is None:
        yield from _hub_rows(source, split, field)
        return
    if found.unread:
        _say_once(f"{field}: not read in {source}: {found.unread}")
    for file in found.files:
        for row in file_rows(found.filesystem, file.path, file.name, split, field):
            yield _with_columns(row, file.columns)


def _with_columns(row: Row, columns: Mapping[str, str | None]) -> Row:
    """The row with the columns of its folders' names. A value of its own comes first."""
    if row.fault is not None or not columns:
        return row
    own = {name: value for name, value in row.fields.items() if value is not None}
    return Row(row.where, {**row.fields, **columns, **own})


def read_some_rows(source: str, split: str | None, field: str) -> Iterator[Row]:
    """As `read_user_rows`. Raises `RowError` also where there is no row."""
    rows = read_user_rows(source, split, field)
    first = next(rows, None)
    if first is None:
        raise RowError(f"{field}: {source} holds no rows; {how_to_write(source)}")
    yield first
    yield from rows


def has_files(source: str, split: str | None, field: str) -> bool:
    """Whether `read_user_rows` would read files; otherwise `source` can only be a hub data set, which is not asked for.

    Raises `RowError` where there is no such file or folder, and no such split in it.
    """
    return find_files(source, split, field) is not None


@cache
def _say_once(text: str) -> None:
    warn(text)


def _hub_rows(name: str, split: str | None, field: str) -> Iterator[Row]:
    config, _, part = (split or "").rpartition("/")
    try:
        from datasets import load_dataset  # takes seconds

        rows = load_dataset(name, config or None, split=part or None, streaming=True)
        if split is None:
            if len(rows) != 1:
                raise RowError(f"it has the splits {', '.join(rows)}; give the files of one of them")
            (rows,) = rows.values()
        for number, fields in enumerate(rows, start=1):
            yield Row(f"{name}: row {number}", fields)
    except Exception as error:
        wanted = "the only split" if split is None else f"split {split!r}"
        raise RowError(
            f"{field}: cannot read {wanted} of data set {name!r} from the hub, and there is no file or folder "
            f"of that name: {error}; correct the name or the split, or give a file of it"
        ) from error
