"""What the untouched model says of every sequence: the reference that DPO measures against, computed once.

It is kept in a folder `reference` beside the trained model's. A training that goes on after a crash finds it there, and
so does one that makes the model again with another β or another rate. To share it with a training elsewhere, copy that
folder into the one that is given to it as `--out`.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from selfreward_ray.errors import UserError
from selfreward_ray.models.local import local_model
from selfreward_ray.records import TokenSequence
from selfreward_ray.store.tables import read_rows, write_part
from selfreward_ray.training.agreement import on_rank_0
from selfreward_ray.training.batches import Batch, MicroBatch
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import Reference
from selfreward_ray.training.packing import lay_out
from selfreward_ray.training.zero3 import logprobs_of, without_dropout

_FILES_AT_A_TIME = 8
_BEGUN_WITH = "reference.json"
"""Beside the checkpoints: which log-probs the training began with."""


@dataclass(frozen=True)
class ReferenceLogProb:
    """Summed log-prob of a sequence's target tokens, in nats."""

    id: str
    logprob: float


def reference_logprobs(engine: Any, plan: list[Batch[Any]], job: TrainJob, *, goes_on: bool = False) -> Reference:
    """Summed log-probs of every sequence under the model that training starts from.

    Read where they are kept, else computed and kept. A training that `goes_on` from a checkpoint has those that it
    began with, though another number of ranks has other passes. Every rank calls it, with an `engine` that has not been
    trained. Raises on all ranks, as `on_rank_0` does, what rank 0 meets where it reads the weights and where it reads
    or keeps the log-probs.
    """
    kept, read = on_rank_0(lambda: _kept(plan, job, goes_on)) or ("", None)
    found = [read]
    dist.broadcast_object_list(found)
    if found[0] is not None:
        return found[0]
    reference = _computed(engine, plan, job, dist.get_rank())
    rows = [ReferenceLogProb(name, value) for name, value in sorted(reference.items())]
    on_rank_0(lambda: write_part(job.folders.reference, kept, rows, ReferenceLogProb, "part-0"))
    return reference


def untouched_loss(engine: Any, micro: MicroBatch[Any], reference: Reference, job: TrainJob) -> float:
    """The mean preference loss of `micro` without dropout; every rank calls it beside the others."""
    micro = _alone(micro)
    with without_dropout(engine), torch.no_grad():
        _, metrics = job.objective.loss(micro.examples, logprobs_of(engine, micro), reference)
    return metrics["preference_loss"] / sum(map(job.objective.weight, micro.examples))


def check_first_loss(loss: float, expected: float) -> None:
    """Before any update the policy is its reference: every margin is 0. Raises `UserError` where it is not."""
    if not math.isclose(loss, expected, rel_tol=1e-3, abs_tol=1e-3):
        raise UserError(
            f"the first step's preference loss is {loss:.5f}, not {expected:.5f}: the reference log-probs are not "
            "those of the model that training starts from; remove the folder `reference` beside the model's to have "
            "them computed again"
        )


def _computed(engine: Any, plan: list[Batch[Any]], job: TrainJob, rank: int) -> Reference:
    """By the first epoch's own forward passes."""
    mine: Reference = {}
    steps = _first_epoch(plan, job)
    with without_dropout(engine), torch.no_grad():
        for done, batch in enumerate(steps):
            for micro in batch.ranks[rank]:
                logprobs = logprobs_of(engine, _alone(micro))
                if not micro.blank:
                    mine.update({name: values.sum().item() for name, values in logprobs.items()})
            if rank == 0:
                job.progress.note.remote(f"reference log-probs {done + 1}/{len(steps)}")
    shares: list[Reference] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(shares, mine)
    return {name: value for share in shares for name, value in share.items()}


def _alone(micro: MicroBatch[Any]) -> MicroBatch[Any]:
    """The pass of its pairs alone: their judging rows are measured against nothing."""
    return replace(micro, examples=tuple(pair.alone() for pair in micro.examples))


def _first_epoch(plan: list[Batch[Any]], job: TrainJob) -> list[Batch[Any]]:
    return plan[: len(plan) // job.optimization.epochs]


def _kept(plan: list[Batch[Any]], job: TrainJob, goes_on: bool) -> tuple[str, Reference | None]:
    """The key of the log-probs, and they themselves where they are kept."""
    checkpoints = job.folders.checkpoints
    if goes_on and checkpoints.is_file(_BEGUN_WITH):
        key = checkpoints.read_json(_BEGUN_WITH)["key"]
        if (found := _read(job, key)) is not None:
            return key, found
    key = _key(plan, job)
    checkpoints.write_json(_BEGUN_WITH, {"key": key})
    return key, _read(job, key)


def _read(job: TrainJob, key: str) -> Reference | None:
    if key not in job.folders.reference.folders():
        return None
    return {row.id: row.logprob for row in read_rows(job.folders.reference, ReferenceLogProb, key)} or None


def _key(plan: list[Batch[Any]], job: TrainJob) -> str:
    """A hash of what the log-probs depend on: weights, token ids and their rows, dtype, kind of device and its kernels.

    In bfloat16 a sequence's log-prob depends on what it is packed with, by more than the first loss may be off.
    """
    passes = [_alone(micro).examples for batch in _first_epoch(plan, job) for rank in batch.ranks for micro in rank]
    ids = [[(*_sequence_key(s), segment.queries.stop) for s, segment in lay_out(examples)] for examples in passes]
    how = [job.training.dtype, job.training.gpus_per_worker > 0, job.training.liger_kernels]
    lines = [_weights_hash(local_model(job.model)), *map(json.dumps, [*how, *ids])]
    return _hash(lines)[:16]


def _sequence_key(sequence: TokenSequence) -> tuple[Any, ...]:
    key: tuple[Any, ...] = (sequence.id, sequence.prompt_ids, sequence.target_ids)
    return (*key, sequence.context) if sequence.context else key


def _weights_hash(model: Path) -> str:
    """Of what the files hold, not of where they are or by which recipe they were trained: a path is used again."""

    def digest(file: Path) -> str:
        with file.open("rb") as stream:
            return f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}"

    files = [model / "config.json", *sorted(model.glob("*.safetensors"))]
    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:  # a large model has many files
        return _hash(pool.map(digest, files))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
