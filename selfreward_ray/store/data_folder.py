"""The files of a source of rows: one file, or those files of a folder that belong to the wanted split.

A folder may be a plain one, a clone of a hub data set, or what the `datasets` library saves (`save_to_disk`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.row_formats import ENDINGS, SUFFIXES
from selfreward_ray.store.splits import Splits, splits_by_name, splits_of_card
from selfreward_ray.store.user_rows import RowError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
CARD = "README.md"
"""The card of a data set on the hub, whose head may say which files are which split."""
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"
_NOTES = ("config.json", "dataset_info.json", "dataset_infos.json")
"""Files of the hub that are JSON and hold no rows."""
_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|citation|changelog|authors)\b.*|_[^.]*|.*\.(md|lock|crc)", re.I)
"""Files that nobody takes for rows, and that need no mention."""
_SLICED = re.compile(r"(\w+)\[.*\]")
_NAMED = 5


@dataclass(frozen=True)
class DataFiles:
    """The files of a source, in the order in which they are read."""

    filesystem: fs.FileSystem
    paths: dict[str, str]
    """What messages call each file, by its path in the file system."""
    unread: str = ""
    """Which other files the folder holds, and why they are not read; empty if there are none."""


def find_files(source: str, split: str | None, field: str) -> DataFiles | None:
    """The files of `source`, the value of the recipe's `field`; None if it can only be a hub data set.

    A file is read whatever `split` says. In a folder it names the split whose files are read; None is the only one.
    Folders below are searched too, files come in the order of their paths. What is hidden is never read. If no name and
    no README.md tells of splits, all files are those of ``train``. Raises `RowError` if there is nothing to read, or no
    such split.
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
        if _HUB_NAME.fullmatch(source) and not source.endswith(SUFFIXES):
            return None
        raise RowError(
            f"{field}: cannot read {source}: there is no such file or folder; a hub data set is named owner/name"
        )
    return DataFiles(filesystem, {path: source})


def _files_below(folder: Folder, split: str | None, field: str) -> DataFiles:
    filesystem, path = folder.filesystem()
    below = folder.infos_below()
    readable = [name for name in below if name.endswith(SUFFIXES) and _last(name) not in _NOTES]
    declared = _declared(folder, below, readable)
    splits = declared or splits_by_name(readable)
    chosen = _chosen(folder.uri, splits, readable, split, field)
    if declared:  # which leaves out what it does not name
        unread = ""
    else:
        others = [name for name in below if not name.endswith(SUFFIXES) and not _DOCUMENTS.fullmatch(_last(name))]
        reasons = {f"files with rows end in {ENDINGS}": others}
        if splits.names():
            reasons["their names tell no split"] = list(splits.apart)
        unread = "; ".join(f"{_shown(files)} ({reason})" for reason, files in reasons.items() if files)
    uri = folder.uri.rstrip("/")
    return DataFiles(filesystem, {f"{path.rstrip('/')}/{name}": f"{uri}/{name}" for name in chosen}, unread)


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
            f"{field}: folder {folder} has {wanted}; it has {', '.join(names)}{apart}; {_split_remedy(field)}"
        )
    if not files:
        raise RowError(
            f"{field}: folder {folder} holds no file with rows of the split {split or names[0]!r}, which its notes "
            f"name; fetch the whole data set, or name its files"
        )
    return files


def _split_remedy(field: str) -> str:
    section, found, _ = field.partition(".source")
    return f"set {section}.split to one of them" if found else "name the files or the folder of one of them"


def _shown(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(files[:_NAMED]) + more


def _last(name: str) -> str:
    return name.rpartition("/")[2]
