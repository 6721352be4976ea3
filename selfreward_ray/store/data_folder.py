"""The files of a source of rows: one file, or those files of a folder that belong to the wanted split.

A folder may be a plain one, a clone of a hub data set, or what the `datasets` library saves (`save_to_disk`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.store.file_names import missing_parts, partition, same_rows
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.row_formats import ENDINGS, has_rows
from selfreward_ray.store.splits import Splits, split_remedy, splits_by_name, splits_of_card
from selfreward_ray.store.user_rows import RowError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""Names of models and data sets on the hub."""
CARD = "README.md"
"""The card of a data set on the hub, whose head may say which files are which split."""
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"
_NOTES = ("config.json", "dataset_info.json", "dataset_infos.json")
"""Files of the hub that are JSON and hold no rows."""
_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|citation|changelog|authors)\b.*|_[^.]*|.*\.(md|lock|crc)", re.I)
"""Files that hold no rows, and are not reported as unread."""
_SLICED = re.compile(r"(\w+)\[.*\]")
_NAMED = 5
_ABOVE = 3
"""How many levels above a folder the card of its data set is looked for."""


@dataclass(frozen=True)
class DataFile:
    """A file to read. Messages call it by its `name`."""

    path: str
    name: str
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Columns of all its rows, from the names of its folders (``lang=en``)."""


@dataclass(frozen=True)
class DataFiles:
    """The files of a source, in the order in which they are read."""

    filesystem: fs.FileSystem
    files: Sequence[DataFile]
    unread: str = ""
    """Which other files the folder holds, and why they are not read; empty if there are none."""


def find_files(source: str, split: str | None, field: str) -> DataFiles | None:
    """The files of `source`, the value of the recipe's `field`; None if it can only be a hub data set.

    A file is read whatever `split` says. In a folder it names the split whose files are read; None is the only one.
    Folders below are searched too, files come in the order of their paths. What is hidden is never read. If no name and
    no README.md tells of splits, all files are those of ``train``. Raises `RowError` if there is nothing to read, no
    such split, a part of it missing, or the same rows in two forms.
    """
    folder = Folder(source)
    try:
        filesystem, path = folder.filesystem()
        found = filesystem.get_file_info(path).type
        if found == fs.FileType.Directory:
            return _files_below(folder, split, field)
    except RowError:
        raise
    except UserError as error:
        raise RowError(f"{field}: {error}") from None
    except OSError as error:
        raise RowError(f"{field}: cannot read {source}: {error}") from None
    if found == fs.FileType.NotFound:
        if HUB_NAME.fullmatch(source) and not has_rows(source):
            return None
        remedy = "a hub data set is named owner/name"
        if re.search(r"[*?\[]", source):
            remedy = "give the folder, of which all files are read"
        raise RowError(f"{field}: cannot read {source}: there is no such file or folder; {remedy}")
    if found == fs.FileType.Unknown:
        raise RowError(f"{field}: cannot read {source}: it is neither a file nor a folder; write its rows to a file")
    return DataFiles(filesystem, [DataFile(path, source)])


def _files_below(folder: Folder, split: str | None, field: str) -> DataFiles:
    filesystem, path = folder.filesystem()
    below = folder.infos_below()
    readable = [name for name in below if has_rows(name) and _last(name) not in _NOTES]
    declared = _declared(folder, below, readable)
    within = None if declared else _data_set_within(folder, below, readable, field)
    if within:
        return _files_below(folder / within, split, field)
    if not declared:
        _, declared = card_above(folder, readable)
    splits = declared or splits_by_name(readable)
    chosen = _chosen(folder.uri, splits, readable, split, field)
    _check_complete(folder.uri, chosen, below, field)
    reasons = {"empty": [name for name in chosen if below[name].size == 0]}
    if not declared:  # which leaves out what it does not name
        others = [name for name in below if not has_rows(name) and not _DOCUMENTS.fullmatch(_last(name))]
        reasons[f"files with rows end in {ENDINGS}"] = others
    if not declared or splits.apart:
        reasons["their names tell no split"] = list(splits.apart) if splits.names() else []
    unread = "; ".join(f"{_shown(files)} ({reason})" for reason, files in reasons.items() if files)
    root, uri = path.rstrip("/"), folder.uri.rstrip("/")
    files = [DataFile(f"{root}/{name}", f"{uri}/{name}", partition(name)) for name in chosen]
    return DataFiles(filesystem, files, unread)


def _declared(folder: Folder, below: Mapping[str, Any], readable: Sequence[str]) -> Splits | None:
    """The splits that the folder's own notes name; None if there are none."""
    if _SAVED_SPLITS in below:
        names = _noted(folder, _SAVED_SPLITS).get("splits") or []
        return Splits({"": {str(name): _saved(folder, f"{name}/") for name in names}}, "")
    if _SAVED in below:
        split = str(_noted(folder, _SAVED).get("_split") or "train")
        sliced = _SLICED.fullmatch(split)
        return Splits({"": {sliced[1] if sliced else split: _saved(folder, "")}}, "")
    if CARD in below:
        return splits_of_card(folder.read_bytes(CARD).decode("utf-8", "replace"), readable)
    return None


def _data_set_within(folder: Folder, below: Mapping[str, Any], readable: Sequence[str], field: str) -> str | None:
    """The only folder below with a data set in it that names its splits; None if there is none.

    Raises `RowError` if there are several, or other files beside it: each has splits of its own.
    """
    found: list[str] = []
    for note in (name for name in below if _last(name) in (_SAVED_SPLITS, _SAVED, CARD)):
        place = note.rpartition("/")[0]
        inside = [name.removeprefix(f"{place}/") for name in readable if name.startswith(f"{place}/")]
        noted = {name.removeprefix(f"{place}/"): None for name in below if name.startswith(f"{place}/")}
        splits = _declared(folder / place, noted, inside) if inside else None
        if splits and any(files for config in splits.configs.values() for files in config.values()):
            found.append(place)
    outer = [place for place in dict.fromkeys(found) if not any(place.startswith(f"{other}/") for other in found)]
    beside = [name for name in readable if not any(name.startswith(f"{place}/") for place in outer)]
    if len(outer) > 1 or (outer and beside):
        more = f", and other files ({_shown(beside)})" if beside else ""
        raise RowError(
            f"{field}: folder {folder.uri} holds data sets with splits of their own: {_shown(outer)}{more}; give the "
            "folder of one of them"
        )
    return outer[0] if outer else None


def card_above(folder: Folder, readable: Sequence[str]) -> tuple[bytes, Splits | None]:
    """The card of a data set of which the folder is a part, and the splits of the folder's files by it.

    None if it does not tell them apart: a folder whose files are all of one split was named for it, and is read as any
    folder.
    """
    place, prefix = folder.uri.rstrip("/") if "://" in folder.uri else same_place(folder.uri), ""
    for _ in range(_ABOVE):
        place, _, name = place.rpartition("/")
        if not place or place.endswith(":/"):
            break
        prefix = f"{name}/{prefix}"
        try:
            card = Folder(place).read_bytes(CARD)
        except (OSError, UserError):  # none, or a folder that only others may read
            continue
        splits = splits_of_card(card.decode("utf-8", "replace"), [f"{prefix}{name}" for name in readable])
        if splits is not None:
            part = splits.below(prefix, readable)
            return card, part if len(part.names()) > 1 else None
    return b"", None


def _check_complete(folder: str, chosen: Sequence[str], below: Mapping[str, Any], field: str) -> None:
    """Raise `RowError` where a file is missing, or where two files hold the same rows."""
    missing = [name for name in chosen if name not in below]
    if missing:
        raise RowError(
            f"{field}: folder {folder} lacks files that its notes name: {_shown(missing)}; fetch the whole data set, "
            "or name a file"
        )
    missing = missing_parts(chosen)
    if missing:
        raise RowError(
            f"{field}: folder {folder} lacks {_shown(missing)}: the names of the files beside say how many there are; "
            "fetch the whole data set, or rename the files that you mean to use"
        )
    twice = same_rows(chosen)
    if twice:
        raise RowError(
            f"{field}: folder {folder} holds {twice[0]} and {twice[1]}, which seem to be the same rows in two forms; "
            "remove or rename one of them, or name a file"
        )


def _saved(folder: Folder, prefix: str) -> list[str]:
    """The files of a data set in the order in which it was saved; others, such as caches, are none of it."""
    files = _noted(folder, f"{prefix}{_SAVED}").get("_data_files") or []
    return [f"{prefix}{file['filename']}" for file in files]


def _noted(folder: Folder, name: str) -> dict[str, Any]:
    try:
        noted = json.loads(folder.read_bytes(name))
    except (ValueError, FileNotFoundError):
        noted = None
    if not isinstance(noted, dict):
        raise UserError(f"{folder.uri}/{name} is not what the datasets library saves; save the data set again")
    return noted


def _chosen(folder: str, splits: Splits, readable: Sequence[str], split: str | None, field: str) -> Sequence[str]:
    """The files to read. Raises `RowError` that names the splits that there are."""
    names = splits.names()
    if not names:
        if not readable:
            raise RowError(f"{field}: folder {folder} holds no file with rows; their names end in {ENDINGS}")
        if split in (None, "train"):
            return readable
        raise RowError(
            f"{field}: folder {folder} has no split {split!r}: neither a README.md nor the names of its files tell of "
            f"splits, so that all of them are 'train'; set {field.removesuffix('source')}split=train to read them"
        )
    files = splits.files(split)
    if files is None:
        wanted = "several splits" if split is None else f"no split {split!r}"
        apart = f" ({_shown(splits.apart)}: the name tells no split)" if splits.apart else ""
        raise RowError(
            f"{field}: folder {folder} has {wanted}; it has {', '.join(names)}{apart}; {split_remedy(field)}"
        )
    if not files:
        raise RowError(
            f"{field}: folder {folder} holds no file with rows of the split {split or names[0]!r}, which its notes "
            f"name; fetch the whole data set, or name its files"
        )
    return files


def _shown(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(files[:_NAMED]) + more


def _last(name: str) -> str:
    return name.rpartition("/")[2]
