"""From ZeRO-3 shards to a Hugging Face folder: what inference loads and what a user keeps."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from pyarrow import fs
from safetensors.torch import save_file

from selfreward_ray.storage import Folder

_SHARD_BYTES = 5 * 10**9
_COMPANIONS = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab.*", "merges.txt", "chat_template*",
)  # fmt: skip


def export_model(model: Any, source: Path, out: str) -> None:
    """Write `model` to the folder `out`: safetensors shards of at most 5 GB, their index, configuration, and
    `source`'s tokenizer and chat template.

    Every rank calls it, and gathers one parameter at a time; rank 0 holds one shard in host memory. Raises
    `RuntimeError` for an empty or non-finite tensor.
    """
    shards = _shards(model)
    index: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, names in enumerate(shards, start=1):
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            tensors = _gather(model, names)
            if dist.get_rank() == 0:
                save_file(tensors, Path(scratch) / file, metadata={"format": "pt"})
                _upload(Path(scratch) / file, out)
                index.update(dict.fromkeys(names, file))
        if dist.get_rank() == 0:
            sizes = {name: _bytes(parameter) for name, parameter in model.named_parameters()}
            listing = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
            (Path(scratch) / "model.safetensors.index.json").write_text(json.dumps(listing, indent=2))
            for pattern in _COMPANIONS:
                for path in source.glob(pattern):
                    shutil.copy(path, Path(scratch) / path.name)
            model.config.save_pretrained(scratch)  # not the source's: it names the dtype that was trained
            for path in Path(scratch).iterdir():
                if path.suffix != ".safetensors":
                    _upload(path, out)
    dist.barrier()


def _bytes(parameter: Any) -> int:
    return int(parameter.ds_numel * parameter.element_size())


def _shards(model: Any) -> list[list[str]]:
    """Names of each shard's parameters, in the model's order."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, parameter in model.named_parameters():
        if shards[-1] and filled + _bytes(parameter) > _SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += _bytes(parameter)
    return shards


def _gather(model: Any, names: list[str]) -> dict[str, torch.Tensor]:
    parameters = dict(model.named_parameters())
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        with deepspeed.zero.GatheredParameters([parameters[name]]):
            if dist.get_rank() == 0:
                tensor = parameters[name].detach().cpu().clone()
                if tuple(tensor.shape) != tuple(parameters[name].ds_shape) or not torch.isfinite(tensor).all():
                    raise RuntimeError(f"weight {name!r} is empty or not finite; the model is not exported")
                tensors[name] = tensor
    return tensors


def _upload(file: Path, out: str) -> None:
    filesystem, path = Folder(out).filesystem()
    filesystem.create_dir(path, recursive=True)
    fs.copy_files(
        str(file), f"{path}/{file.name}", source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem
    )
    file.unlink()
