"""Names, shapes and types of a model's weights, from the headers of its safetensors files; no weight is read.

A file begins with the header's length in eight bytes, and the header, which is JSON. A header of a large model's file
has some tens of KB, so that the first bytes of each file are enough, wherever it is.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
}  # fmt: skip
_SAVE_AGAIN = "copy it again, or save the model again with save_pretrained"


@dataclass(frozen=True)
class Headers:
    """What the headers of a model's weight files say."""

    shapes: Shapes
    """Shapes of all tensors by their names."""
    types: dict[str, str]
    """Their types as safetensors names them, for example ``BF16``."""
    faults: tuple[str, ...]
    """What is wrong with the files, each with the remedy. The tensors of such files are missing above."""


class Damaged(ValueError):
    """A file is missing, cut off, or no safetensors file."""


Parsed = dict[str, tuple[str, tuple[int, ...]]]
"""Type and shape of each tensor of a file."""


def folder_headers(folder: Folder) -> Headers:
    """The headers of the weight files of a folder on disk or in an object store, several at a time.

    Raises `OSError` for storage that does not answer.
    """
    files = {info.base_name: info for info in folder.infos()}
    filesystem, _ = folder.filesystem()

    def header(name: str) -> Parsed:
        if name not in files:
            raise Damaged(f"{name}, which its {INDEX} names, is missing; copy it into the folder")
        return _stored_header(filesystem, files[name])

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
        return {tensor: (info.dtype, tuple(info.shape)) for tensor, info in parsed.tensors.items()}

    return _together(there, index, header)


def _together(names: set[str], index: bytes | None, header: Callable[[str], Parsed]) -> Headers:
    """The headers of all weight files. `names` are the files that are there, `index` is the content of the index, if
    there is one, and `header` reads one file and raises `Damaged`."""
    shapes: Shapes = {}
    types: dict[str, str] = {}
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
            shapes |= {name: shape for name, (_, shape) in found.items()}
            types |= {name: kind for name, (kind, _) in found.items()}
            if lost := sorted({name for name, where in (listed or {}).items() if where == file} - found.keys()):
                faults.append(f"{file} has no {lost[0]}, which {INDEX} names in it; {_SAVE_AGAIN}")
    return Headers(shapes, types, tuple(faults))


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
    match json.loads(index):
        case {"weight_map": dict(listed)} if listed and all(isinstance(name, str) for name in listed.values()):
            return listed
    raise ValueError("it has no weight_map of file names")


def _stored_header(filesystem: fs.FileSystem, info: fs.FileInfo) -> Parsed:
    """The header of a file. Raises `Damaged` unless it is whole and agrees with the size of the file."""
    name, size = info.base_name, int(info.size)
    with filesystem.open_input_file(info.path) as file:
        begin = file.read_at(min(_FIRST_BYTES, size), 0)
        if begin.startswith(b"version https://git-lfs"):
            raise Damaged(f"{name} is a pointer of git-lfs, and not the file itself; run git lfs pull in the folder")
        length = int.from_bytes(begin[:8], "little")
        if len(begin) < 8 or not 0 < length <= min(_LONGEST_HEADER, size - 8):
            raise Damaged(f"{name} is no safetensors file, or cut off in its header; {_SAVE_AGAIN}")
        if 8 + length > len(begin):
            begin += file.read_at(8 + length - len(begin), len(begin))
    try:
        parsed, end = _parsed(json.loads(begin[8 : 8 + length]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"the header of {name} is damaged ({error}); {_SAVE_AGAIN}") from None
    if size != 8 + length + end:
        what = "cut off" if size < 8 + length + end else "damaged"
        raise Damaged(f"{name} is {what}: it has {size} bytes, and {8 + length + end} by its header; {_SAVE_AGAIN}")
    return parsed


def _parsed(header: dict[str, Any]) -> tuple[Parsed, int]:
    """The tensors of a header, and how many bytes they take in the file."""
    parsed: Parsed = {}
    ends = [0]
    for name, value in header.items():
        if name == "__metadata__":
            continue
        kind, shape, (begin, end) = str(value["dtype"]), tuple(map(int, value["shape"])), value["data_offsets"]
        if kind in _BITS and end - begin != math.prod(shape) * _BITS[kind] // 8:
            raise ValueError(f"{name} has {end - begin} bytes, but the shape {list(shape)} of {kind}")
        parsed[name] = (kind, shape)
        ends.append(end)
    return parsed, max(ends)
