"""From ZeRO-3 shards to a Hugging Face folder: what inference loads and what a user keeps."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import deepspeed
import torch.distributed as dist
from torch import Tensor

from selfreward_ray.models.headers import INDEX
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.agreement import agree, on_rank_0
from selfreward_ray.training.lora import Weight, saved_weights
from selfreward_ray.training.naming import FolderNames, folder_names
from selfreward_ray.training.shards import (
    check_index,
    check_names,
    check_shard,
    check_value,
    expected_shapes,
    plan_shards,
    size_of,
    write_shard,
)

SHARD_BYTES = 5 * 10**9
_COMPANIONS = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "*.model", "*.tiktoken", "tekken.json", "chat_template*", "additional_chat_templates/*",
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json",
    "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
"""Files of a model's folder that hold for the trained model too: no weights, and nothing that tells how the model of
that folder was made."""


def export_model(model: Any, source: Path, out: str, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `model` to the folder `out`: safetensors shards of at most `shard_bytes`, their index, and `source`'s
    configuration, tokenizer, chat template and processors, and nothing else. What was in `out` before is removed. The
    tensors have the names and shapes that they have in `source`. A LoRA adapter is merged into the weights.

    Every rank calls it, gathers one weight at a time, and stores its share of the shards: it holds one shard in host
    memory, which is stored and read back while the shards of other ranks are gathered. A node with 8 ranks needs memory
    for 8 shards, which is 40 GB. Raises `UserError`, which names the tensor, for one that is missing, empty, not
    finite, or not stored as it was gathered, and what the storage raises; an error of one rank ends all.
    """
    shapes = expected_shapes(model.config)
    held = saved_weights(model)
    check_names(set(held), set(shapes))
    names = folder_names(source, model.config)
    names.check_covers(held)
    sizes = {name: size_of(held[name].tensor, shape) for name, shape in shapes.items()}
    shards = plan_shards(sizes, shard_bytes)
    owners, rank = _ranks_in_turn(), dist.get_rank()
    on_rank_0(Folder(out).delete)
    with ThreadPoolExecutor(1) as thread:
        share = _Share(Folder(out), thread)
        for number, (file, weights) in enumerate(shards.items()):
            if number % len(owners) == 0:
                agree(share.error)
            owner = owners[number % len(owners)]
            if rank == owner:
                share.wait()
            tensors, fault = _gather({name: held[name] for name in weights}, shapes, names, owner)
            if rank == owner:
                share.store(file, tensors, fault)
        share.wait()
        agree(share.error)
    stored = {
        file: [name for weight in weights for name in names.of_weight(weight)] for file, weights in shards.items()
    }
    on_rank_0(lambda: _describe(model, source, Folder(out), stored, sum(sizes.values())))


class _Share:
    """What one rank stores, a shard at a time, in a thread beside the gathers."""

    def __init__(self, folder: Folder, thread: ThreadPoolExecutor):
        self.error: BaseException | None = None
        """The first; nothing is stored after it."""
        self._folder = folder
        self._thread = thread
        self._storing: Future[None] | None = None

    def wait(self) -> None:
        """Until the shard before is stored, and out of memory."""
        if self._storing is not None:
            self.error = self.error or self._storing.exception()
            self._storing = None

    def store(self, file: str, tensors: dict[str, Tensor], fault: Exception | None) -> None:
        self.error = self.error or fault
        if self.error is None:
            self._storing = self._thread.submit(_store, self._folder, file, tensors)


def _store(folder: Folder, file: str, tensors: dict[str, Tensor]) -> None:
    write_shard(folder, file, tensors)
    check_shard(folder, file, tensors)


def _ranks_in_turn() -> list[int]:
    """All ranks, the first of each node before the second of any: nodes store as much as each other."""
    local: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(local, int(os.environ.get("LOCAL_RANK", "0")))
    return sorted(range(len(local)), key=lambda rank: (local[rank], rank))


def _gather(
    held: dict[str, Weight], shapes: dict[str, tuple[int, ...]], names: FolderNames, owner: int
) -> tuple[dict[str, Tensor], Exception | None]:
    """The whole tensors in host memory on the rank `owner`, by their names in the folder, and what is wrong with one;
    on the others nothing.

    The fault is returned: a rank that left would keep the others waiting in the next gather.
    """
    tensors: dict[str, Tensor] = {}
    fault: Exception | None = None
    for name, weight in held.items():
        with deepspeed.zero.GatheredParameters(weight.parts()):
            if dist.get_rank() != owner or fault is not None:
                continue
            try:
                value = weight.value()
                check_value(name, value, shapes[name])
                tensors |= names.split(name, value)
            except Exception as error:
                fault = error
    return tensors, fault


def _describe(model: Any, source: Path, folder: Folder, shards: dict[str, list[str]], size: int) -> None:
    """Write what a model's folder has beside its weights; the index and the configuration last."""
    for path in _files(source, _COMPANIONS):
        home = folder if path.parent == source else folder / path.parent.name
        home.write_bytes(path.name, path.read_bytes())
    weight_map = {name: file for file, names in shards.items() for name in names}
    folder.write_json(INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})
    check_index(folder, set(weight_map))
    # The folder's own, not the policy's, which has the dropout of training.
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["torch_dtype" if "torch_dtype" in config else "dtype"] = str(model.config.dtype).removeprefix("torch.")
    folder.write_json("config.json", config)


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
