"""One rank of a training run: ZeRO-3 around a policy, blind to the objective. Runs inside Ray Train."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist

from selfreward_ray.models.local import local_model, without_weights
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.agreement import on_rank_0, together
from selfreward_ray.training.batches import Batch, plan_batches, read_ahead
from selfreward_ray.training.checkpoints import Schedule, restore, save
from selfreward_ray.training.elastic import Left, has_room
from selfreward_ray.training.export import export_model
from selfreward_ray.training.gauges import Gauges
from selfreward_ray.training.history import History
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import Reference
from selfreward_ray.training.reference import check_first_loss, reference_logprobs, untouched_loss
from selfreward_ray.training.snapshots import is_decided, is_snapshot, write_snapshot
from selfreward_ray.training.step import set_rate, take_step
from selfreward_ray.training.token_table import TokenTable
from selfreward_ray.training.zero3 import open_engine


def train(config: dict[str, Any]) -> Left | None:
    """The loop of one rank: encoded examples in, a safetensors folder out. `Left` if another group is to go on.

    Raises `Final` for an error that all ranks have, and on all of them: `trainer` does not raise it to Ray Train, which
    ends the other ranks of a rank that raises, not of one that returns. So no rank may raise it alone: what one rank
    can meet goes through `agreement`.
    """
    job: TrainJob = config["job"]
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(job.seed)
    _note(job, "reading the examples")
    examples = together(lambda: TokenTable(job.folders.training / "rows", job.objective.record))
    plan = plan_batches(examples, job.optimization, ranks, job.seed)
    source = _fetched_model(job)
    _note(job, "loading the model")
    engine = open_engine(source, job, ranks)
    _note(job, "restoring the newest checkpoint, or the reference's log-probs")
    # Before anything is restored: by the model that training starts from.
    checkpoint = ray.train.get_checkpoint()
    reference: Reference = {}
    if job.objective.first_loss is not None:
        reference = reference_logprobs(engine, plan, job, goes_on=checkpoint is not None)
    history = restore(engine, checkpoint, job.fingerprint)
    _note(job, "")
    if rank == 0:
        job.progress.begin.remote(history.done, history.tokens)
    if (left := _optimize(engine, plan, reference, history, job, source)) is not None:
        return left
    _note(job, "writing the model")
    on_rank_0(lambda: _write_history(job.folders.training, history, engine.config["zero_optimization"]))
    if not job.snapshot_every:
        export_model(engine.module.model, source, job.folders.model.uri)
    # Once: a report waits for Ray Train's controller, which looks every other second, longer than a small step.
    ray.train.report(history.summary())
    return None


def _note(job: TrainJob, text: str) -> None:
    """What this group of workers is doing, for the driver's log."""
    if dist.get_rank() == 0:
        job.progress.note.remote(text)


def _fetched_model(job: TrainJob) -> Path:
    """The model's folder on this rank's node; only rank 0's has the weights, which no other rank reads."""
    shown = ""

    def show(here: int, total: int) -> None:
        nonlocal shown
        note = f"fetching the model {here / max(total, 1):.0%}"
        if note != shown:
            job.progress.note.remote(note)
        shown = note

    whole = on_rank_0(lambda: local_model(job.model, progress=show))
    return together(lambda: whole or without_weights(job.model).folder)


def _write_history(folder: Folder, history: History, division: dict[str, Any]) -> None:
    """`division` is how ZeRO-3 divided the work: DeepSpeed's settings."""
    folder.write_bytes("steps.jsonl", "".join(json.dumps(row) + "\n" for row in history.steps).encode())
    folder.write_json("summary.json", history.summary() | {"zero_optimization": division})


def _optimize(
    engine: Any, plan: Sequence[Batch[Any]], reference: Reference, history: History, job: TrainJob, source: Path
) -> Left | None:
    """All steps of `plan` that `history` does not have, or fewer if the model is chosen before.

    `Left` after a checkpoint, if other workers are to go on: more, or those of the nodes that are not taken away.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    schedule = Schedule(job.training.checkpoint_every)
    gauges = Gauges(engine.module.model.config, job.training)
    for step, batch in read_ahead(plan, range(history.done, len(plan))):
        if history.done and is_decided(job):
            return None
        started = time.monotonic()
        # Whatever a step draws it draws again after an interruption.
        torch.manual_seed((job.seed * len(plan) + step) * ranks + rank)
        rate = set_rate(engine, step, len(plan), job.optimization)
        if step == 0 and job.objective.first_loss is not None:
            untouched = untouched_loss(engine, batch.ranks[rank][-1], reference, job)
            together(partial(check_first_loss, untouched, job.objective.first_loss))
        metrics = take_step(engine, batch, batch.ranks[rank], reference, job)
        skipped = not engine.was_step_applied()
        seconds = time.monotonic() - started
        norm = float(engine.get_global_grad_norm())
        metrics |= {"gradient_norm": norm, "workers": ranks} | gauges.of(batch, seconds)
        history.add(metrics, rate=rate, seconds=seconds, skipped=skipped)
        history.check(job.training.max_skipped_steps, [e.id for e in batch.examples()], job.label)
        if rank == 0:
            job.progress.step.remote(history.done, history.tokens, history.steps[-1])
        is_last = history.done == len(plan)
        due = not is_last and schedule.is_due(history.done)
        validated = False
        if is_snapshot(job, history.done, len(plan)):
            write_snapshot(engine.module.model, source, job, history.done)
            validated = job.validation is not None and not is_last
        noticed = job.training.min_workers is not None and schedule.is_noticed
        left = not is_last and (noticed or has_room(job))
        if due or validated or left:
            save(engine, history, job.fingerprint, validated=validated)
        if left:
            return Left()
    return None
