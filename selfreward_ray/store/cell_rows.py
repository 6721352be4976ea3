"""The rows of a file of cells: a header, and below it a row a line, with commas, tabs or semicolons between cells."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from selfreward_ray.store.user_rows import Row, RowError, Unread

_MAX_CELL = 1 << 27
_APART = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}


def cell_rows(stream: io.BufferedReader, name: str, kind: str, usual: str) -> Iterator[Row]:
    """Rows with the header's fields, all of them texts. An empty cell is None, also in quotes; any word is a text.

    Cells have `usual` between, or what the header has: programs write what is usual in a language or in a line
    ``sep=;`` above. A row with another number of cells than the header has a fault. Raises `RowError` for what is no
    table at all. `kind` is what messages call the file.
    """
    csv.field_size_limit(_MAX_CELL)
    between, begins, blank = _separator(stream.peek(1), usual)
    remedy = f"separate cells by {_APART[between]}, and put a cell with {_APART[between]}, quotes or line ends in "
    remedy += "double quotes"
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    for _ in range(begins):
        text.readline()
    lines = csv.reader(text, strict=True, delimiter=between, skipinitialspace=blank)
    header, number = None, 1 + begins
    try:
        for cells in lines:
            where, number = f"{name}:{number}", lines.line_num + 1 + begins  # of the first line, if a cell has several
            if not any(cells):
                continue
            if header is None:
                header = _header(cells, where)
            elif len(cells) != len(header):
                more = f"{len(cells)} cells, the header {len(header)}"
                yield Row(where, Unread("has another number of cells than the header", remedy, more))
            else:
                fields = dict(zip(header, (cell or None for cell in cells), strict=True))
                if not _is_number(fields.pop("", None)):
                    raise RowError(f"{where}: has a cell in a column without a name; name the column, or remove it")
                yield Row(where, fields)
    except csv.Error as error:
        raise RowError(f"{name}:{lines.line_num + begins}: is not {kind} ({error}); {remedy}") from None
    except UnicodeDecodeError:
        raise RowError(f"{name}:{number}: is not UTF-8 text; save the file as UTF-8") from None


def _separator(head: bytes, usual: str) -> tuple[str, int, bool]:
    """What stands between cells, the number of lines above the header, and whether a blank follows what stands between.

    Another separator than the `usual` one is certain where it divides a header that is otherwise one cell.
    """
    first = head.decode("utf-8-sig", "replace").lstrip("\r\n").partition("\n")[0].rstrip("\r")
    said = re.fullmatch(r"sep=([,;|\t])", first)
    if said:
        return said[1], 1, False
    if usual not in first:
        for between in _APART:
            names = first.split(between)
            if len(names) > 1 and all(name.strip() for name in names):
                return between, 0, False
    return usual, 0, all(cell.startswith(" ") for cell in first.split(usual)[1:]) and usual in first


def _header(cells: list[str], where: str) -> list[str]:
    """The names of the columns. One name may be empty, of a column with nothing in it or with pandas' row numbers."""
    names = [cell.strip() for cell in cells]
    twice = [field for field, count in Counter(names).items() if count > 1]
    if twice:
        what = f"are named {twice[0]!r}; rename one" if twice[0] else "have no name; name or remove them"
        raise RowError(f"{where}: two columns {what}")
    return names


def _is_number(cell: str | None) -> bool:
    return cell is None or cell.isdecimal()
