"""Names, shapes and types of a model's weights, from the headers of its safetensors files; no weight is read.

A file begins with the header's length in eight bytes, and the header, which is JSON. A header of a large model's file
has some tens of KB, so that the first bytes of each file are enough, wherever it is.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import fs

from selfreward_ray.models.fit import Shapes
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_FIRST_BYTES = 128 * 2**10
"""Bytes of a file that are asked for at once: the header of most files."""
_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors reads no longer ones."""
_BITS = {
    "C64": 64, "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64,
    "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
_COMPARED = 1024
"""Bytes at each end of two tensors that are compared."""
_SAVE_AGAIN = "copy it again, or save the model again with save_pretrained"


@dataclass(frozen=True)
class Stored:
    """A tensor of a file."""

    kind: str
    """Its type as safetensors names it, for example ``BF16``."""
    shape: tuple[int, ...]
    place: tuple[int, int] | None = None
    """Where its bytes begin and end in the file; None if that is not known."""


Parsed = dict[str, Stored]
"""The tensors of a file by their names."""


@dataclass(frozen=True)
class Headers:
    """What the headers of a model's weight files say."""

    shapes: Shapes
    """Shapes of all tensors by their names."""
    types: dict[str, str]
    """Their types as safetensors names them, for example ``BF16``."""
    faults: tuple[str, ...]
    """What is wrong with the files, each with the remedy. The tensors of such files are missing above."""
    places: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """File, first byte and end of tensors in a folder."""


class Damaged(ValueError):
    """A file is missing, cut off, or no safetensors file."""


def folder_headers(folder: Folder) -> Headers:
    """The headers of the weight files of a folder on disk or in an object store, several at a time.

    Raises `OSError` for storage that does not answer.
    """
    files = {info.base_name: info for info in folder.infos()}
    filesystem, _ = folder.filesystem()

    def header(name: str) -> Parsed:
        if name not in files:
            raise Damaged(f"{name}, which its {INDEX} names, is missing; copy it into the folder")
        return _header(filesystem, files[name].path, int(files[name].size), name)

    index = folder.read_bytes(INDEX) if INDEX in files else None
    return _together(set(files), index, header)


def hub_headers(name: str, names: Iterable[str], index: bytes | None) -> Headers:
    """The headers of the weight files of a model on the hub, of which `names` are the files.

    `index` is the content of its index, if it has one. Raises the errors of the hub's client.
    """
    import huggingface_hub
    from huggingface_hub.errors import SafetensorsParsingError

    there = {file for file in names if "/" not in file}

    def header(file: str) -> Parsed:
        if file not in there:
            raise Damaged(f"{file}, which its {INDEX} names, is missing; ask its owner to upload it")
        try:
            parsed = huggingface_hub.parse_safetensors_file_metadata(name, file)
        except SafetensorsParsingError as error:
            raise Damaged(f"{file} is damaged ({error}); ask its owner to upload it again") from None
        return {tensor: Stored(info.dtype, tuple(info.shape)) for tensor, info in parsed.tensors.items()}

    return _together(there, index, header)


def _together(names: set[str], index: bytes | None, header: Callable[[str], Parsed]) -> Headers:
    """The headers of all weight files. `names` are the files that are there, `index` is the content of the index, if
    there is one, and `header` reads one file and raises `Damaged`."""
    shapes: Shapes = {}
    types: dict[str, str] = {}
    holders: dict[str, str] = {}
    places: dict[str, tuple[str, int, int]] = {}
    try:
        listed = None if index is None else weight_map(index)
        files = _weight_files(names, listed)
    except Damaged as damaged:
        return Headers({}, {}, (str(damaged),))
    except ValueError as error:
        return Headers({}, {}, (f"its {INDEX} cannot be read ({error}); {_SAVE_AGAIN}",))
    faults = list(_strays(names, set(files), listed is not None))

    def read(file: str) -> tuple[str, Parsed | Damaged]:
        try:
            return file, header(file)
        except Damaged as damaged:
            return file, damaged

    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for file, found in pool.map(read, files):
            if isinstance(found, Damaged):
                faults.append(str(found))
                continue
            if twice := sorted(found.keys() & holders.keys()):
                faults.append(f"{twice[0]} is in {holders[twice[0]]} and in {file}; {_SAVE_AGAIN}")
            holders |= dict.fromkeys(found, file)
            shapes |= {name: stored.shape for name, stored in found.items()}
            types |= {name: stored.kind for name, stored in found.items()}
            places |= {name: (file, *stored.place) for name, stored in found.items() if stored.place}
            if lost := sorted({name for name, where in (listed or {}).items() if where == file} - found.keys()):
                faults.append(f"{file} has no {lost[0]}, which {INDEX} names in it; {_SAVE_AGAIN}")
    return Headers(shapes, types, tuple(faults), places)


def _weight_files(names: set[str], listed: dict[str, str] | None) -> list[str]:
    """The files that transformers reads. Raises `Damaged` if there are none."""
    if WEIGHTS in names:
        return [WEIGHTS]
    if listed is None:
        raise Damaged(f"it has neither {WEIGHTS} nor {INDEX}; save the model again with save_pretrained")
    return sorted(set(listed.values()))


def _strays(names: set[str], files: set[str], indexed: bool) -> Iterator[str]:
    """Files that the engine would read instead of, or beside, those that training reads."""
    if indexed and WEIGHTS in files:
        yield f"it has both {WEIGHTS} and {INDEX}, and training and vLLM would read different ones; remove one of them"
    others = {name for name in names if name.endswith(".safetensors") and not name.startswith("consolidated")}
    if not indexed and (stray := sorted(others - files)):
        yield f"it has {stray[0]} beside {WEIGHTS}, and vLLM would read both; remove {stray[0]}"


def weight_map(index: bytes) -> dict[str, str]:
    """The file of each tensor, by the content of an index. Raises `ValueError` for a damaged one."""
    try:
        content = json.loads(index)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    match content:
        case {"weight_map": dict(listed)} if listed and all(isinstance(name, str) for name in listed.values()):
            return listed
    raise ValueError("it has no weight_map of file names")


def check_header(file: Path, name: str) -> None:
    """Raise `Damaged` unless `file`, on this disk, has a whole header that agrees with its size; it names `name`."""
    _header(fs.LocalFileSystem(), str(file), file.stat().st_size, name)


def _header(filesystem: fs.FileSystem, path: str, size: int, name: str) -> Parsed:
    """The header of a file. Raises `Damaged` unless it is whole and agrees with the size of the file."""
    with filesystem.open_input_file(path) as file:
        begin = file.read_at(min(_FIRST_BYTES, size), 0)
        if begin.startswith(b"version https://git-lfs"):
            raise Damaged(f"{name} is a pointer of git-lfs, and not the file itself; run git lfs pull in the folder")
        length = int.from_bytes(begin[:8], "little")
        if len(begin) < 8 or not 0 < length <= min(_LONGEST_HEADER, size - 8):
            raise Damaged(f"{name} is no safetensors file, or cut off in its header; {_SAVE_AGAIN}")
        if 8 + length > len(begin):
            begin += file.read_at(8 + length - len(begin), len(begin))
    try:
        parsed = _parsed(json.loads(begin[8 : 8 + length]), 8 + length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"the header of {name} is damaged ({error}); {_SAVE_AGAIN}") from None
    end = max((stored.place[1] for stored in parsed.values() if stored.place), default=8 + length)
    if size != end:
        what = "cut off" if size < end else "damaged"
        raise Damaged(f"{name} is {what}: it has {size} bytes, and {end} by its header; {_SAVE_AGAIN}")
    return parsed


def _parsed(header: Any, first: int) -> Parsed:
    """The tensors of a header, in a file whose data begins at byte `first`. Raises `ValueError`, or another error of
    wrong types, unless they fill the file one after another, as safetensors requires."""
    if not isinstance(header, dict):
        raise ValueError("it is no JSON object")
    said = header.pop("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ValueError("its __metadata__ is no map of texts")
    parsed: Parsed = {}
    for name, value in header.items():
        kind, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
        if any(
            not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in (*shape, begin, end)
        ):
            raise ValueError(f"{name} has the shape {shape} at {[begin, end]}, which are no whole numbers from 0")
        if kind not in _BITS:
            raise ValueError(f"{name} has the type {kind!r}, which safetensors does not know")
        if end - begin != math.prod(shape) * _BITS[kind] // 8:
            raise ValueError(f"{name} has {end - begin} bytes, but the shape {shape} of {kind}")
        parsed[name] = Stored(kind, tuple(shape), (first + begin, first + end))
    last = first
    for name, stored in sorted(parsed.items(), key=lambda each: each[1].place or ()):
        begin, end = stored.place or (last, last)
        if begin != last:
            raise ValueError(f"{name} begins at byte {begin}, and what is before it ends at {last}")
        last = end
    return parsed


def differ(folder: Folder, headers: Headers, one: str, other: str) -> bool:
    """Whether two tensors of the same shape and type have other values in `folder`, by the bytes at their ends. False
    where their places are not known."""
    if headers.types[one] != headers.types[other] or not {one, other} <= headers.places.keys():
        return False
    filesystem, path = folder.filesystem()

    def ends(name: str) -> tuple[bytes, bytes]:
        file, begin, end = headers.places[name]
        count = min(_COMPARED, end - begin)
        with filesystem.open_input_file(f"{path}/{file}") as opened:
            return opened.read_at(count, begin), opened.read_at(count, end - count)

    return ends(one) != ends(other)
