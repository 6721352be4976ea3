"""The weights of a model folder: what plain transformers expects there, and whether the files hold it.

That the folder's log-probs are the worker's follows at any size from four things that can be checked with one shard in
memory: the names and shapes are those that transformers makes of the configuration, each tensor is finite, the stored
bytes are the gathered ones, and the index names every file. Loading the folder beside the trained model would prove
the same, but a model of 70 billion parameters fits on no one rank; tests do it with small ones.
"""

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from selfreward_ray.storage import Folder
from selfreward_ray.training.lora import saved_weights

INDEX = "model.safetensors.index.json"


def expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that plain transformers wants of a folder with this configuration."""
    with torch.device("meta"):  # no memory, whatever the size
        plain = AutoModelForCausalLM.from_config(config)
    return {name: tuple(weight.tensor.shape) for name, weight in saved_weights(plain).items()}


def check_names(held: set[str], expected: set[str]) -> None:
    """Raises `RuntimeError`, which names the tensors, unless both are the same."""
    for names, fault in ((expected - held, "lacks"), (held - expected, "has")):
        if names:
            raise RuntimeError(
                f"the policy {fault} {', '.join(sorted(names))}, unlike the model that transformers makes of its "
                "configuration; it can not be exported"
            )


def check_value(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises `RuntimeError` for an empty tensor, another shape than `shape`, and a value that is not finite."""
    if tuple(tensor.shape) != shape:
        found = "is empty" if not tensor.numel() else f"has shape {tuple(tensor.shape)}, not {shape}"
    elif not torch.isfinite(tensor).all():
        found = "is not finite"
    else:
        return
    raise RuntimeError(f"weight {name!r} {found}; the model is not exported")


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


def check_shard(folder: Folder, file: str, tensors: dict[str, Tensor]) -> None:
    """Read a stored shard back, a tensor at a time. Raises `RuntimeError` naming one whose bytes are not `tensors`'."""
    filesystem, path = folder.filesystem()
    with filesystem.open_input_file(f"{path}/{file}") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
        except ValueError:
            header = {}
        for name, tensor in tensors.items():
            entry = header.get(name, {"shape": None, "data_offsets": (0, 0)})
            begin, end = entry["data_offsets"]
            stream.seek(8 + length + begin)
            stored = np.frombuffer(stream.read(end - begin), np.uint8)
            given = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
            if entry["shape"] != list(tensor.shape) or not np.array_equal(stored, given):
                raise RuntimeError(f"weight {name!r} does not read back from {folder.uri}/{file} as it was written")


def check_index(folder: Folder, expected: set[str]) -> None:
    """Raises `RuntimeError` unless the stored index names every expected tensor, and every file that is there."""
    listed: dict[str, str] = folder.read_json(INDEX)["weight_map"]
    stored = {path.rsplit("/", 1)[-1] for path in folder.files(".safetensors")}
    if set(listed) != expected or set(listed.values()) != stored:
        odd = sorted((set(listed) ^ expected) | (set(listed.values()) ^ stored))
        raise RuntimeError(f"{folder.uri}/{INDEX} does not agree with the folder on {', '.join(odd)}")
