"""What identifies the input of a step: a manifest, or what its files hold, told from a part that is cheap to read.

The fingerprint of a step has the content of its inputs in it, and a model of 70B parameters has 138 GB. A hash of all
bytes would take the driver an hour from an object store. Times of modification change when a folder is moved, and ETags
depend on how a file was uploaded. So weights are sampled: the same bytes give the same digest wherever they are, and an
update by an optimizer, which changes most of the elements of what it trains, cannot be missed. An edit by hand of less
than a percent of one large tensor can be. Digests are kept, so that only the first command reads the files.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.store.data_folder import CARD, HUB_NAME, card_above
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.known_digests import known_digests
from selfreward_ray.store.manifest import MANIFEST, read_manifest
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


_COMMIT = re.compile("@[0-9a-f]{40}$")


def input_fingerprint(uri: str) -> str:
    """What identifies an input: the content of a step's tables, by its manifest, else that of a model folder or a file,
    else its name.

    An endpoint is identified by its base URL and its model's name; it is not asked. A model of the hub has the commit
    that this node's cache has of it behind its name and an @, if it has one; so has an adapter whose base is one.
    Of large weight files a few MB are read, see `content_digest`, and nothing of what was read before, see
    `known_digests`.
    """
    if is_endpoint(uri):
        return str(address_of(uri))
    folder = Folder(uri)
    infos = {info.base_name: info for info in folder.infos()}
    if MANIFEST in infos and (manifest := read_manifest(folder)) is not None:
        return manifest.identity
    digest = hashlib.sha256()
    base = ""
    if infos.keys() & {_MODEL_CONFIG, ADAPTER_CONFIG}:
        read = [info for info in infos.values() if info.path.endswith(_HASHED_SUFFIXES)]
        if ADAPTER_CONFIG in infos:
            base = input_fingerprint(str(folder.read_json(ADAPTER_CONFIG).get("base_model_name_or_path")))
            digest.update(without_commit(base).encode())
    else:
        read = _rows(folder, digest)
    if not read:
        return f"{uri}{_commit(uri)}"
    filesystem, path = folder.filesystem()
    contents = known_digests(
        f"{same_place(uri)} {WHOLE_BYTES} {SAMPLE_BYTES}", read, partial(content_digest, filesystem)
    )
    for info, content in zip(read, contents, strict=True):
        digest.update(f"{info.path.removeprefix(path)} {content}\n".encode())
    return digest.hexdigest() + base.removeprefix(without_commit(base))


def without_commit(identity: str) -> str:
    """What identifies an input, without a commit of the hub."""
    return _COMMIT.sub("", identity)


def same_identity(one: str, other: str) -> bool:
    """Whether two identities may be of the same input: a commit that one of them does not know is not compared."""
    return one == other or one == without_commit(other) or other == without_commit(one)


def _commit(name: str) -> str:
    """The commit that this node's cache has of a model of the hub, behind an @; empty if it has none. The hub is not
    asked: its client notes the commit when it opens the model, and keeps it while it is offline."""
    if not HUB_NAME.fullmatch(name):
        return ""
    from huggingface_hub import constants

    noted = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "refs", "main")
    commit = f"@{noted.read_text().strip()}" if noted.is_file() else ""
    return commit if _COMMIT.fullmatch(commit) else ""


def _rows(folder: Folder, digest: Any) -> list[fs.FileInfo]:
    """A file, or the files of a folder that are read, or say what is read; `digest` takes a folder's card."""
    filesystem, path = folder.filesystem()
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [info]
    below = folder.infos_below()
    if info.type == fs.FileType.Directory:
        digest.update(card_above(folder, [name for name in below if has_rows(name)])[0])
    return [info for name, info in below.items() if has_rows(name) or name.endswith(CARD)]


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
