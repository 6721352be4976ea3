"""The rows of a file of cells: a header, and below it a row a line, with commas, tabs or semicolons between cells."""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice

from selfreward_ray.store.user_rows import Row, RowError, Unread

_MAX_CELL = 1 << 27
_LINES_OF_A_CELL = 1000
_APART = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}


def cell_rows(stream: io.BufferedReader, name: str, kind: str, usual: str) -> Iterator[Row]:
    """Rows with the header's fields, all of them texts. An empty cell is None, also in quotes.

    Cells are separated by `usual`, or by the separator of the header or of a line ``sep=;`` above it. A row with
    another number of cells than the header has a fault. Raises `RowError` for a file that is no table. Messages call
    the file `kind`.
    """
    csv.field_size_limit(_MAX_CELL)
    head = stream.peek(1)
    between, begins, blank = _separator(head, usual)
    remedy = f"separate cells by {_APART[between]}, and put a cell with {_APART[between]}, quotes or line ends in "
    remedy += "double quotes"
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="\n" if b"\n" in head else "\r")
    for _ in range(begins):
        text.readline()
    header, number = None, 1
    try:
        for number, cells in _tabbed(text) if between == "\t" else _quoted(text, between, blank):
            where = f"{name}:{number + begins}"
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
    except _Fault as fault:
        raise RowError(f"{name}:{fault.line + begins}: is not {kind} ({fault}); {remedy}") from None
    except UnicodeDecodeError:
        raise RowError(f"{name}:{number + begins}: is not UTF-8 text; save the file as UTF-8") from None


class _Fault(Exception):
    def __init__(self, line: int, what: object):
        super().__init__(str(what))
        self.line = line


def _quoted(lines: Iterable[str], between: str, blank: bool) -> Iterator[tuple[int, list[str]]]:
    """Cells that may be in quotes, and the line where each row begins: a cell in quotes may have several."""
    rows = csv.reader(lines, strict=True, delimiter=between, skipinitialspace=blank)
    while True:
        begins = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            inside = "new-line character" in str(error)  # whose message speaks of Python
            raise _Fault(rows.line_num, "a line end within a cell" if inside else error) from None
        if cells is None:
            return
        yield begins, cells


def _tabbed(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Cells separated by tabs, and the line where each row begins.

    Some programs put cells in quotes; for others a quote is an ordinary character. The number of cells decides. If both
    readings have the header's number of cells but give different rows, that is a fault.
    """
    ahead: deque[str] = deque()
    begins, width = 1, 0
    while line := ahead.popleft() if ahead else next(lines, ""):
        cells, taken = _plain(line), 1
        width = width or (len(cells) if any(cells) else 0)
        if any(cell.startswith('"') for cell in cells):
            in_quotes, more = _in_quotes(line, lines, ahead)
            over = list(islice(ahead, more - 1))
            if len(in_quotes) == width and over and all(len(_plain(one)) == width for one in (line, *over)):
                raise _Fault(begins, "a quote may begin a cell of several lines, or be a character")
            if len(in_quotes) == width or (in_quotes and len(cells) != width):
                cells, taken = in_quotes, more
        yield begins, cells
        for _ in range(taken - 1):
            ahead.popleft()
        begins += taken


def _plain(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _in_quotes(line: str, lines: Iterator[str], ahead: deque[str]) -> tuple[list[str], int]:
    """The cells of the row that begins with `line`, if quotes are marks, and its number of lines; else no cells.

    Lines that it looks at are put into `ahead`.
    """

    def given() -> Iterator[str]:
        yield line
        for place in range(_LINES_OF_A_CELL):
            if place == len(ahead):
                ahead.extend(islice(lines, 1))
            if place == len(ahead):
                return
            yield ahead[place]

    rows = csv.reader(given(), strict=True, delimiter="\t")
    try:
        return next(rows), rows.line_num
    except csv.Error:
        return [], 1


def _separator(head: bytes, usual: str) -> tuple[str, int, bool]:
    """The separator of cells, the number of lines above the header, and whether a blank follows each separator.

    Another separator than the `usual` one is taken only if it divides a header that is otherwise one cell.
    """
    first = re.split(r"[\r\n]", head.decode("utf-8-sig", "replace").lstrip("\r\n"), maxsplit=1)[0]
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
