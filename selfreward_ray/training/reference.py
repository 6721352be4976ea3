"""What the untouched model says of every sequence: the reference that DPO measures against, computed once.

It is kept in a folder `reference` beside the trained model's. A training that goes on after a crash finds it there, and
so does one that makes the model again with another β or another rate. To share it with a training elsewhere, copy that
folder into the one that is given to it as `--out`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from selfreward_ray.errors import UserError
from selfreward_ray.models.local import local_model
from selfreward_ray.records import TokenSequence
from selfreward_ray.store.arrow import arrow_schema, from_table, to_table
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.number_table import NumberTable
from selfreward_ray.store.tables import read_blocks
from selfreward_ray.training.agreement import on_rank_0
from selfreward_ray.training.batches import Batch, MicroBatch, read_ahead
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import Reference
from selfreward_ray.training.packing import lay_out
from selfreward_ray.training.zero3 import logprobs_of, without_dropout

_FILES_AT_A_TIME = 8
_ROWS_READ = 4096
_STEPS_TOGETHER = 64
"""After so many steps ranks exchange their log-probs."""
_BEGUN_WITH = "reference.json"
"""Beside the checkpoints: which log-probs the training began with."""


@dataclass(frozen=True)
class ReferenceLogProb:
    """Summed log-prob of a sequence's target tokens, in nats."""

    id: str
    logprob: float


def reference_logprobs(engine: Any, plan: Sequence[Batch[Any]], job: TrainJob, *, goes_on: bool = False) -> Reference:
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
    blocks = _written(_computed(engine, plan, job, dist.get_rank()), job.folders.reference / kept)
    return NumberTable(row for block in blocks for row in block.items())


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


def _computed(engine: Any, plan: Sequence[Batch[Any]], job: TrainJob, rank: int) -> Iterator[dict[str, float]]:
    """By the first epoch's own forward passes: those of all ranks, some steps' at a time."""
    steps = len(plan) // job.optimization.epochs
    mine: dict[str, float] = {}
    for step, batch in _first_epoch(plan, job):
        with without_dropout(engine), torch.no_grad():
            for micro in batch.ranks[rank]:
                logprobs = logprobs_of(engine, _alone(micro))
                if not micro.blank:
                    mine.update({name: values.sum().item() for name, values in logprobs.items()})
        if rank == 0:
            job.progress.note.remote(f"reference log-probs {step + 1}/{steps}")
        if (step + 1) % _STEPS_TOGETHER == 0 or step + 1 == steps:
            shares: list[dict[str, float]] = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(shares, mine)
            yield {name: value for share in shares for name, value in share.items()}
            mine = {}


def _written(blocks: Iterable[dict[str, float]], folder: Folder) -> Iterator[dict[str, float]]:
    """The `blocks`, which rank 0 writes to a file in `folder` on their way. It is there once all of them are."""
    with ExitStack() as opened:
        writer = on_rank_0(lambda: opened.enter_context(_writer(folder)))
        for block in blocks:
            on_rank_0(partial(_write, writer, block))
            yield block
        on_rank_0(opened.close)


@contextmanager
def _writer(folder: Folder) -> Iterator[pq.ParquetWriter]:
    schema = arrow_schema(ReferenceLogProb)
    with folder.writing("part-0.parquet") as stream, pq.ParquetWriter(stream, schema) as writer:
        yield writer


def _write(writer: Any, block: dict[str, float]) -> None:
    writer.write(to_table([ReferenceLogProb(name, value) for name, value in block.items()], ReferenceLogProb))


def _alone(micro: MicroBatch[Any]) -> MicroBatch[Any]:
    """The pass of its pairs alone: their judging rows are measured against nothing."""
    return replace(micro, examples=tuple(pair.alone() for pair in micro.examples))


def _first_epoch(plan: Sequence[Batch[Any]], job: TrainJob) -> Iterator[tuple[int, Batch[Any]]]:
    return read_ahead(plan, range(len(plan) // job.optimization.epochs))


def _kept(plan: Sequence[Batch[Any]], job: TrainJob, goes_on: bool) -> tuple[str, NumberTable | None]:
    """The key of the log-probs, and they themselves where they are kept."""
    checkpoints = job.folders.checkpoints
    if goes_on and checkpoints.is_file(_BEGUN_WITH):
        key = checkpoints.read_json(_BEGUN_WITH)["key"]
        if (found := _read(job, key)) is not None:
            return key, found
    key = _key(plan, job)
    checkpoints.write_json(_BEGUN_WITH, {"key": key})
    return key, _read(job, key)


def _read(job: TrainJob, key: str) -> NumberTable | None:
    if key not in job.folders.reference.folders():
        return None
    table = job.folders.reference / key
    blocks = read_blocks(table, table.files(".parquet"), _ROWS_READ)
    rows = (from_table(block, ReferenceLogProb, table.uri) for block in blocks)
    return NumberTable((row.id, row.logprob) for some in rows for row in some) or None


def _key(plan: Sequence[Batch[Any]], job: TrainJob) -> str:
    """A hash of what the log-probs depend on: weights, token ids and their rows, dtype, kind of device and its kernels.

    In bfloat16 a sequence's log-prob depends on what it is packed with, by more than the first loss may be off.
    """
    passes = (micro for _, batch in _first_epoch(plan, job) for rank in batch.ranks for micro in rank)
    how = [job.training.dtype, job.training.gpus_per_worker > 0, job.training.liger_kernels]
    lines = chain([_weights_hash(local_model(job.model))], map(json.dumps, chain(how, map(_pass_key, passes))))
    return _hash(lines)[:16]


def _pass_key(micro: MicroBatch[Any]) -> list[tuple[Any, ...]]:
    """The sequences of a pass, with where each ends in its row."""
    return [(*_sequence_key(s), segment.queries.stop) for s, segment in lay_out(_alone(micro).examples)]


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
    """Of the lines, joined by line breaks, of which one is in memory at a time."""
    found = hashlib.sha256()
    for number, line in enumerate(lines):
        found.update(f"\n{line}".encode() if number else line.encode())
    return found.hexdigest()
