"""From ZeRO-3 shards to a Hugging Face folder: what inference loads and what a user keeps."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import deepspeed
import torch.distributed as dist
from pyarrow import fs
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from selfreward_ray.storage import Folder
from selfreward_ray.training.lora import Weight, saved_weights
from selfreward_ray.training.shards import (
    INDEX,
    check_index,
    check_names,
    check_shard,
    check_value,
    expected_shapes,
    plan_shards,
    size_of,
)

SHARD_BYTES = 5 * 10**9
_COMPANIONS = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab.*", "merges.txt", "chat_template*",
)  # fmt: skip


def export_model(model: Any, source: Path, out: str, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `model` to the folder `out`: safetensors shards of at most `shard_bytes`, their index, configuration, and
    `source`'s tokenizer and chat template. A LoRA adapter is merged into it.

    Every rank calls it, and gathers one weight at a time; rank 0 holds one shard in host memory, and reads it back
    from `out` before it takes the next. Raises `RuntimeError`, which names the tensor, for one that is missing, empty,
    not finite, or not stored as it was gathered.
    """
    shapes = expected_shapes(model.config)
    held = saved_weights(model)
    check_names(set(held), set(shapes))
    sizes = {name: size_of(held[name].tensor, shape) for name, shape in shapes.items()}
    shards = plan_shards(sizes, shard_bytes)
    with tempfile.TemporaryDirectory() as scratch:
        for file, names in shards.items():
            tensors = _gather({name: held[name] for name in names}, shapes)
            if dist.get_rank() == 0:
                save_file(tensors, Path(scratch) / file, metadata={"format": "pt"})
                _upload(Path(scratch) / file, out)
                check_shard(Folder(out), file, tensors)
        if dist.get_rank() == 0:
            weight_map = {name: file for file, names in shards.items() for name in names}
            index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
            (Path(scratch) / INDEX).write_text(json.dumps(index, indent=2))
            for pattern in _COMPANIONS:
                for path in source.glob(pattern):
                    shutil.copy(path, Path(scratch) / path.name)
            config = AutoConfig.from_pretrained(source)  # not the policy's: it has the dropout of training
            config.dtype = model.config.dtype
            config.save_pretrained(scratch)
            for path in Path(scratch).iterdir():
                _upload(path, out)
            check_index(Folder(out), set(shapes))
    dist.barrier()


def _gather(held: dict[str, Weight], shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The whole tensors in host memory, checked, on rank 0; on the others nothing."""
    tensors: dict[str, Tensor] = {}
    for name, weight in held.items():
        with deepspeed.zero.GatheredParameters(weight.parts()):
            if dist.get_rank() == 0:
                tensors[name] = weight.value()
                check_value(name, tensors[name], shapes[name])
    return tensors


def _upload(file: Path, out: str) -> None:
    filesystem, path = Folder(out).filesystem()
    filesystem.create_dir(path, recursive=True)
    fs.copy_files(
        str(file), f"{path}/{file.name}", source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem
    )
    file.unlink()
