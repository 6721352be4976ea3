"""What identifies the input of a step: a manifest, or what its files hold, told from a part that is cheap to read.

The fingerprint of a step has the content of its inputs in it, and a model of 70B parameters has 138 GB. A hash of all
bytes would take the driver an hour a command from an object store. Times of modification change when a folder is moved,
ETags depend on how a file was uploaded, and a cache of hashes still reads everything once. So weights are sampled: the
same bytes give the same digest wherever they are, and an update by an optimizer, which changes most of the elements of
what it trains, cannot be missed. An edit by hand of less than a percent of one large tensor can be.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.store.data_folder import CARD, card_above
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.row_formats import has_rows

WHOLE_BYTES = 64 * 2**20
"""Weight files up to this size, and all other files, are hashed whole."""
SAMPLE_BYTES = 4096
"""Of each tensor so much is read at its beginning, in its middle and at its end: 2048 elements of bfloat16."""
_CHUNK_BYTES = 2**24
_HASHED_SUFFIXES = (".safetensors", ".json", ".jsonl", ".gz", ".parquet", ".csv", ".jinja", ".model")
_MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
"""What a LoRA adapter's folder has, and a model's has not; it names the base."""


def input_fingerprint(uri: str) -> str:
    """What identifies an input: the content of a step's tables, by its manifest, else that of a model folder or a file,
    else its name.

    An endpoint is identified by its base URL and its model's name; it is not asked.
    Of large weight files a few MB are read, see `content_digest`.
    """
    if is_endpoint(uri):
        return str(address_of(uri))
    folder = Folder(uri)
    manifest = read_manifest(folder)
    if manifest is not None:
        return manifest.identity
    filesystem, path = folder.filesystem()
    info = filesystem.get_file_info(path)
    infos = [info] if info.type == fs.FileType.File else _infos(folder)
    digest = hashlib.sha256()
    if info.type == fs.FileType.Directory and not folder.is_file(_MODEL_CONFIG):
        digest.update(card_above(folder, [name for name in folder.infos_below() if has_rows(name)])[0])
    if folder.is_file(ADAPTER_CONFIG):
        digest.update(input_fingerprint(str(folder.read_json(ADAPTER_CONFIG).get("base_model_name_or_path"))).encode())
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        for info, content in zip(infos, pool.map(partial(content_digest, filesystem), infos), strict=True):
            digest.update(f"{info.path.removeprefix(path)} {content}\n".encode())
    return digest.hexdigest() if infos else uri


def _infos(folder: Folder) -> list[fs.FileInfo]:
    """The files of a model folder that determine it; of a folder of rows all that are read, or say what is read."""
    infos = folder.infos()
    if {info.base_name for info in infos} & {_MODEL_CONFIG, ADAPTER_CONFIG}:
        return [info for info in infos if info.path.endswith(_HASHED_SUFFIXES)]
    return [info for name, info in folder.infos_below().items() if has_rows(name) or name.endswith(CARD)]


def content_digest(filesystem: fs.FileSystem, info: fs.FileInfo) -> str:
    """SHA-256 of the file's content, or of a large safetensors file's size, header and samples of every tensor.

    Raises `UserError` for a large file that is no safetensors file by its header, or not of the size that it declares.
    """
    digest = hashlib.sha256()
    if info.size > WHOLE_BYTES and info.extension == "safetensors":
        with filesystem.open_input_file(info.path) as file:
            for piece in _sampled(file, info):
                digest.update(piece)
    else:
        with filesystem.open_input_stream(info.path, compression=None) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _sampled(file: Any, info: fs.FileInfo) -> Iterator[bytes]:
    length = int.from_bytes(file.read_at(8, 0), "little")
    header = bytes(file.read_at(length, 8)) if length < info.size else b""
    try:
        offsets = [_offsets(entry) for name, entry in json.loads(header).items() if name != "__metadata__"]
        if 8 + length + max((end for _, end in offsets), default=0) != info.size:
            raise ValueError("the tensors do not fill the file")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{info.path} has no safetensors header; is the file whole?") from None
    yield f"{info.size}".encode()
    yield header
    for begin, end in _ranges(offsets):
        yield bytes(file.read_at(end - begin, 8 + length + begin))


def _offsets(entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends behind the header. Raises `ValueError` or another error for anything else."""
    begin, end = entry["data_offsets"]
    if not (type(begin) is type(end) is int and 0 <= begin <= end):  # `True` is no offset
        raise ValueError("offsets are two whole numbers in order")
    return begin, end


def _ranges(offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where samples begin and end, in order; neighbours are joined, so that they are one request."""
    samples = [
        (max(start, begin), min(start + SAMPLE_BYTES, end))
        for begin, end in offsets
        for start in (begin, (begin + end - SAMPLE_BYTES) // 2, end - SAMPLE_BYTES)
    ]
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(samples):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
