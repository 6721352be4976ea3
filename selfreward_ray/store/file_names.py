"""Read from the names of a folder's files: missing parts, the same rows in two forms, and columns."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from selfreward_ray.store.row_formats import without_ending

_PART = re.compile(r"(?P<stem>.*?)(?P<number>\d+)(?P<of>[-_]of[-_])(?P<count>\d+)(?P<end>.*)", re.DOTALL)
_PARTITION = re.compile(r"(?P<column>[^=]+)=(?P<value>.*)", re.DOTALL)
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_FORMS = ("data", "parquet", "arrow", "json", "jsonl", "csv", "tsv")
"""Names of folders that tell what form their files have."""
_HASH = re.compile(r"-[0-9a-f]{6,}")


def missing_parts(files: Iterable[str]) -> list[str]:
    """The names of missing parts of files that are numbered with their count: ``a-00000-of-00002``.

    Parts are counted from 0, or from 1 where the last number is there.
    """
    parts: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for file in files:
        found = _PART.fullmatch(file)
        if found:  # names may have a hash of their own behind the numbers
            end = _HASH.sub("-*", found["end"], count=1)
            key = (found["stem"], found["of"], found["count"], end, str(len(found["number"])))
            parts[key].add(int(found["number"]))
    missing = []
    for (stem, of, count, end, width), there in parts.items():
        first = 1 if int(count) in there else 0
        numbers = range(first, first + int(count))
        missing += [f"{stem}{number:0{width}d}{of}{count}{end}" for number in numbers if number not in there]
    return missing


def same_rows(files: Sequence[str]) -> tuple[str, str] | None:
    """Two files whose names differ in their endings or in the number of parts alone: rows in two forms.

    Folders may be named after the forms.
    """
    first: dict[str, str] = {}
    form: dict[str, tuple[str, bool]] = {}
    for file in files:
        name, ending = without_ending(file)
        found = _PART.fullmatch(name)
        name = found["stem"].rstrip("-_.") if found else name
        name = "/".join(part for part in name.split("/") if part.lower() not in _FORMS)
        other = first.setdefault(name, file)
        if form.setdefault(name, (ending, found is not None)) != (ending, found is not None):
            return other, file
    return None


def partition(file: str) -> dict[str, str | None]:
    """The columns that the names of folders hold, as Hive and Spark write them: ``lang=en/date=2024-01-01/a.jsonl``.

    That of a split is none.
    """
    columns: dict[str, str | None] = {}
    for name in PurePosixPath(file).parent.parts:
        found = _PARTITION.fullmatch(name)
        if found and found["column"] != "split":
            value = unquote(found["value"])
            columns[unquote(found["column"])] = None if value == _NO_VALUE else value
    return columns
