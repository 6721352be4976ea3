"""The weights of a model folder: what plain transformers expects there, and whether the files hold it.

That the folder's log-probs are the worker's follows at any size from four things that can be checked with one shard in
memory: the names and shapes are those that transformers makes of the configuration, each tensor is finite, the stored
bytes are the gathered ones, and the index names every file. Loading the folder beside the trained model would prove
the same, but a model of 70 billion parameters fits on no one rank; tests do it with small ones.
"""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from selfreward_ray.errors import UserError
from selfreward_ray.models.headers import INDEX
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.lora import saved_weights

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
"""As the safetensors format names them."""
_PIECE_BYTES = 32 * 2**20
_PIECES_AT_A_TIME = 8
"""Pieces that are sent or read in parallel: so much, a quarter of a GiB, is in memory beside the shard."""


def expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that plain transformers wants of a folder with this configuration."""
    with torch.device("meta"):  # no memory, whatever the size
        plain = AutoModelForCausalLM.from_config(config)
    return {name: tuple(weight.tensor.shape) for name, weight in saved_weights(plain).items()}


def check_names(held: set[str], expected: set[str]) -> None:
    """Raises `UserError`, which names the tensors, unless both are the same."""
    for names, fault in ((expected - held, "lacks"), (held - expected, "has")):
        if names:
            raise UserError(
                f"the policy {fault} {', '.join(sorted(names))}, unlike the model that transformers makes of its "
                "configuration; it cannot be exported"
            )


def check_value(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises `UserError` for an empty tensor, another shape than `shape`, and a value that is not finite."""
    if tuple(tensor.shape) != shape:
        found = "is empty" if not tensor.numel() else f"has shape {tuple(tensor.shape)}, not {shape}"
    elif not torch.isfinite(tensor).all():
        found = "is not finite"
    else:
        return
    raise UserError(
        f"weight {name!r} {found}; the model is not exported. Train again in another run, with a lower learning_rate "
        "if the loss grew"
    )


def plan_shards(sizes: dict[str, int], limit: int) -> dict[str, list[str]]:
    """Files and their tensors' names, in order. `sizes` are bytes; a file has at most `limit`, or one tensor."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return {f"model-{n:05d}-of-{len(shards):05d}.safetensors": names for n, names in enumerate(shards, start=1)}


def size_of(tensor: Tensor, shape: tuple[int, ...]) -> int:
    """Bytes of the whole tensor, of which this rank may hold a part or nothing."""
    return math.prod(shape) * int(tensor.element_size())


def write_shard(folder: Folder, file: str, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file straight to `folder`, without a copy on this node's disk.

    It is there under its name only once it is whole; where a tensor or the storage raises, nothing of it is left.
    """
    publishes = folder.filesystem()[0].type_name.endswith("abfs")  # what is flushed: Azure's alone does
    with folder.writing(file) as stream:
        for number, (_, _, piece) in enumerate(_pieces(tensors), start=1):
            stream.write(piece)
            if number % _PIECES_AT_A_TIME == 0 and not publishes:
                stream.flush()  # an object store's stream sends in parallel whatever it has been given, from a copy


def check_shard(folder: Folder, file: str, tensors: dict[str, Tensor]) -> None:
    """Read a stored shard back. Raises `UserError` naming a tensor that is not stored as `write_shard` writes it."""
    filesystem, path = folder.filesystem()
    with filesystem.open_input_file(f"{path}/{file}") as stream, ThreadPoolExecutor(_PIECES_AT_A_TIME) as pool:

        def wrong(piece: tuple[str, int, Any]) -> str | None:
            name, begin, given = piece
            stored = np.frombuffer(stream.read_at(len(given), begin), np.uint8)
            return None if np.array_equal(stored, given) else name

        if name := next(filter(None, pool.map(wrong, _pieces(tensors))), None):
            raise UserError(
                f"weight {name!r} does not read back from {folder.uri}/{file} as it was written; look at that storage, "
                "then run the same command, which goes on from the newest checkpoint"
            )


def _pieces(tensors: dict[str, Tensor]) -> list[tuple[str, int, Any]]:
    """A safetensors file of `tensors` cut into pieces: each with a tensor's name, its place in the file, its bytes.

    The first is the header, and has the first tensor's name.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format wants the tensors aligned
    pieces = [(next(iter(tensors)), 0, np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8))]
    place = 8 + len(text)
    for name, tensor in tensors.items():
        flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        cuts = range(0, len(flat), _PIECE_BYTES)
        pieces += [(name, place + begin, flat[begin : begin + _PIECE_BYTES]) for begin in cuts]
        place += len(flat)
    return pieces


def check_index(folder: Folder, expected: set[str]) -> None:
    """Read the stored index back. Raises `UserError` unless it names every expected tensor and every file that is
    there, also where it is damaged."""
    listed: dict[str, str] = folder.read_json(INDEX)["weight_map"]
    stored = {path.rsplit("/", 1)[-1] for path in folder.files(".safetensors")}
    if set(listed) != expected or set(listed.values()) != stored:
        odd = sorted((set(listed) ^ expected) | (set(listed.values()) ^ stored))
        raise UserError(
            f"{folder.uri}/{INDEX} does not agree with the folder on {', '.join(odd)}; look at who else writes there, "
            "then run the same command, which goes on from the newest checkpoint"
        )
