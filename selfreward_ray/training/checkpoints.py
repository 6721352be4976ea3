"""A training run's state on storage, in a form that knows no number of ranks.

ZeRO-3 holds each parameter as one flat vector, cut into equal slices, one a rank. Every rank writes its slices of the
float32 weights and of Adam's two moments as safetensors; another number of ranks reads other slices of the same
vectors. DeepSpeed's own checkpoints are pickles, which can run code when they are loaded.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from deepspeed.utils import (
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from ray.train import ValidationTaskConfig
from safetensors import safe_open
from safetensors.torch import save_file

from selfreward_ray.errors import UserError
from selfreward_ray.training.agreement import on_rank_0, together
from selfreward_ray.training.history import History

INDEX = "checkpoint.json"
_WEIGHT, _MOMENTS = "weight", ("exp_avg", "exp_avg_sq")
# A rank's slices are in files of about this size: one of them at a time is in host memory.
_FILE_BYTES = 2**30
_CHUNK_BYTES = 2**24


class Schedule:
    """When a checkpoint is due: every so many steps, and at each notice that a node is about to be taken away."""

    def __init__(self, every: int):
        self._every = every
        self._noticed: set[str] = set()

    @property
    def is_noticed(self) -> bool:
        """Whether a node of this group is about to be taken away."""
        return bool(self._noticed)

    def is_due(self, done: int) -> bool:
        """Asked by every rank after every step but the last: Ray's information on notices is a barrier."""
        info = ray.train.get_preemption_info()
        leaving = set(info.preempted_node_ids) if info else set()
        news = leaving - self._noticed
        self._noticed |= leaving
        return bool(news) or (self._every > 0 and done % self._every == 0)


def slice_of(numel: int, rank: int, ranks: int) -> tuple[int, int]:
    """Where `rank`'s slice of a flat vector begins and ends: ZeRO-3's cut, without the padding at the end."""
    size = -(-numel // ranks)
    return min(rank * size, numel), min((rank + 1) * size, numel)


def save(engine: Any, history: History, fingerprint: str, *, validated: bool = False) -> None:
    """Report a checkpoint of the run `fingerprint` to Ray Train, which copies it to the run's storage.

    If `validated` is set, Ray Train starts the validation of the snapshot of the same step, and keeps the checkpoint
    until it has ended.

    Every rank calls it. Each writes its own files; rank 0 adds the index, with the hash of every file. What one
    rank's disk raises ends all, as `agree` does.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    with tempfile.TemporaryDirectory() as scratch:
        mine = together(lambda: _write(engine, Path(scratch), rank, ranks))
        files: list[dict[str, str]] = [{} for _ in range(ranks)]
        dist.all_gather_object(files, mine)
        on_rank_0(lambda: _write_index(engine, Path(scratch), files, history, fingerprint))
        ray.train.report(
            {"steps": history.done},
            checkpoint=ray.train.Checkpoint.from_directory(scratch),
            validation=ValidationTaskConfig(fn_kwargs={"step": history.done}) if validated else False,
        )


def _write(engine: Any, folder: Path, rank: int, ranks: int) -> dict[str, str]:
    """Write this rank's files; their names and hashes."""
    written: dict[str, str] = {}
    for number, tensors in enumerate(_slices(engine, rank, ranks)):
        file = folder / f"rank-{rank:05d}-of-{ranks:05d}-{number:03d}.safetensors"
        save_file(tensors, file)
        with file.open("rb") as stream:
            written[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return written


def _write_index(engine: Any, folder: Path, files: list[dict[str, str]], history: History, fingerprint: str) -> None:
    updates = [state["step"].item() for state in _adam(engine)]
    index = {"fingerprint": fingerprint, "files": files, "updates": updates[0], **vars(history)}
    (folder / INDEX).write_text(json.dumps(index))


def restore(engine: Any, checkpoint: Any, fingerprint: str) -> History:
    """Put the state of `checkpoint` into a fresh engine of any number of ranks; what the run had done by then.

    None is the beginning of a run. Raises `Final`, on all ranks, for a checkpoint of another run and for a damaged one.
    """
    if checkpoint is None:
        return History()
    index = together(lambda: _index(checkpoint, fingerprint))
    parameters = _trained(engine)
    for state in _adam(engine):
        state["step"].fill_(index["updates"])
    engine.optimizer.checkpoint_event_prologue()
    together(lambda: _read(checkpoint, index["files"], parameters))
    engine.optimizer.checkpoint_event_epilogue()
    return History(index["steps"], index["tokens"])


def _index(checkpoint: Any, fingerprint: str) -> dict[str, Any]:
    """Raises `UserError` for another run's index and for a damaged one."""
    with checkpoint.filesystem.open_input_stream(f"{checkpoint.path}/{INDEX}") as stream:
        data = stream.read()
    try:
        index = json.loads(data)
    except ValueError as error:
        raise UserError(
            f"{checkpoint.path}/{INDEX} is damaged ({error}); remove {_home(checkpoint)} to train anew"
        ) from None
    match index:
        case {"fingerprint": other, "files": list(), "updates": _, "steps": list(), "tokens": int()}:
            pass
        case _:
            raise UserError(f"{checkpoint.path}/{INDEX} is damaged; remove {_home(checkpoint)} to train anew")
    if other != fingerprint:
        raise UserError(f"{checkpoint.path} is a checkpoint of another run; remove {_home(checkpoint)} to train anew")
    return dict(index)


def _read(checkpoint: Any, written: list[dict[str, str]], parameters: dict[str, Any]) -> None:
    """Fill this rank's slices from the files that hold a part of them; `written` has each writer's."""
    rank, ranks, writers = dist.get_rank(), dist.get_world_size(), len(written)
    for writer, files in enumerate(written):
        overlaps = {
            name: _overlap(slice_of(p.ds_numel, rank, ranks), slice_of(p.ds_numel, writer, writers))
            for name, p in parameters.items()
        }
        wanted = {name: overlap for name, overlap in overlaps.items() if overlap is not None}
        for file, digest in files.items() if wanted else ():
            with tempfile.TemporaryDirectory() as scratch:
                path = _fetch(checkpoint, file, digest, Path(scratch))
                _fill(parameters, path, wanted)


def _home(checkpoint: Any) -> str:
    """The folder in which Ray Train keeps the run."""
    return str(checkpoint.path).rsplit("/", 2)[0]


def _trained(engine: Any) -> dict[str, Any]:
    return {name: p for name, p in engine.module.named_parameters() if p.requires_grad}


def _adam(engine: Any) -> list[dict[str, torch.Tensor]]:
    """Adam's state of each of DeepSpeed's flat groups, made where no step has been taken yet."""
    adam = engine.optimizer.optimizer
    for flat in engine.optimizer.fp32_partitioned_groups_flat:
        if not adam.state[flat]:
            moments = {name: torch.zeros_like(flat) for name in _MOMENTS}
            adam.state[flat] = {"step": torch.zeros((), device=flat.device), **moments}
    return [adam.state[flat] for flat in engine.optimizer.fp32_partitioned_groups_flat]


def _slices(engine: Any, rank: int, ranks: int) -> Iterator[dict[str, torch.Tensor]]:
    """This rank's slices, as many at a time as belong into one file."""
    _adam(engine)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _trained(engine).items():
        begin, end = slice_of(parameter.ds_numel, rank, ranks)
        held = {_WEIGHT: safe_get_local_fp32_param(parameter)}
        held |= {moment: safe_get_local_optimizer_state(parameter, moment) for moment in _MOMENTS}
        tensors |= {f"{kind}/{name}": whole[: end - begin].cpu() for kind, whole in held.items()}
        if sum(t.nbytes for t in tensors.values()) >= _FILE_BYTES:
            yield tensors
            tensors = {}
    if tensors:
        yield tensors


def _overlap(mine: tuple[int, int], written: tuple[int, int]) -> tuple[slice, slice] | None:
    """What two ranges share, as counted from the begin of either."""
    begin, end = max(mine[0], written[0]), min(mine[1], written[1])
    if begin >= end:
        return None
    return slice(begin - mine[0], end - mine[0]), slice(begin - written[0], end - written[0])


def _fetch(checkpoint: Any, file: str, digest: str, scratch: Path) -> Path:
    """A local copy of the checkpoint's `file`, which is what was written."""
    path, seen = scratch / file, hashlib.sha256()
    with checkpoint.filesystem.open_input_stream(f"{checkpoint.path}/{file}") as source, path.open("wb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            seen.update(chunk)
            copy.write(chunk)
    if seen.hexdigest() != digest:
        raise UserError(f"{checkpoint.path}/{file} is damaged; remove {_home(checkpoint)} to train anew")
    return path


@torch.no_grad()
def _fill(parameters: dict[str, Any], path: Path, wanted: dict[str, tuple[slice, slice]]) -> None:
    """Copy into this rank's slices what the file has of them."""
    with safe_open(path, "pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118
            kind, name = key.split("/", 1)
            if name not in wanted:
                continue
            parameter, (here, there) = parameters[name], wanted[name]
            piece = tensors.get_slice(key)[there]
            if kind == _WEIGHT:
                whole = safe_get_local_fp32_param(parameter)
                whole[here] = piece
                safe_set_local_fp32_param(parameter, whole)
                parameter.ds_tensor.data[here] = piece.to(parameter.ds_tensor)  # what the next forward pass gathers
            else:
                whole = safe_get_local_optimizer_state(parameter, kind)
                whole[here] = piece
                safe_set_local_optimizer_state(parameter, whole, kind)
