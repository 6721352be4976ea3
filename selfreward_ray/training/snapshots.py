"""Models of a training in progress, from which the next M(t) is chosen (`steps/select.py`)."""

from pathlib import Path
from typing import Any

import torch.distributed as dist

from selfreward_ray.store.run import SNAPSHOT
from selfreward_ray.training.agreement import from_rank_0, on_rank_0
from selfreward_ray.training.export import export_model
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.progress_actor import answer


def is_snapshot(job: TrainJob, done: int, steps: int) -> bool:
    """Whether the model after `done` of `steps` optimizer steps is one to choose from."""
    return job.snapshot_every > 0 and (done % job.snapshot_every == 0 or done == steps)


def write_snapshot(model: Any, source: Path, job: TrainJob, done: int) -> None:
    """Export `model` as the snapshot after `done` steps; every rank calls it.

    One of an earlier attempt stays: it may be judged already.
    """
    folder = job.folders.snapshot(done)
    if from_rank_0(lambda: folder.is_file(SNAPSHOT)):
        return
    if dist.get_rank() == 0:
        job.progress.note.remote(f"writing the snapshot of step {done}")
    export_model(model, source, (folder / "model").uri)
    on_rank_0(lambda: folder.write_json(SNAPSHOT, {"step": done}))
    if dist.get_rank() == 0:
        job.progress.note.remote("")


def is_decided(job: TrainJob) -> bool:
    """Whether validation has found the model that will be chosen; every rank calls it before each step."""
    return job.validation is not None and from_rank_0(lambda: answer(job.progress.is_decided))
