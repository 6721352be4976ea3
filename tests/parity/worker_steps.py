"""One rank's optimizer steps by the worker's own functions, without Ray: ``python worker_steps.py MODEL FOLDER DPO``.

Reads the encoded pairs of FOLDER, as the worker does, and leaves FOLDER/steps.json. A process of its own, because
DeepSpeed changes what other trainers of its process do.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.records import PairTokens
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective
from selfreward_ray.training.reference import check_first_loss, reference_logprobs
from selfreward_ray.training.step import set_rate, take_step
from selfreward_ray.training.zero3 import open_engine


def worker_steps(model: Path, folder: Folder, dpo: Dpo) -> list[dict[str, Any]]:
    """Each step's metrics, its rate, its gradient's norm before clipping, and the ids of its pairs."""
    silent = SimpleNamespace(note=SimpleNamespace(remote=lambda text: None))
    training = Training(workers=1, dtype="float32", gradient_checkpointing=False)
    job = TrainJob("DPO", str(model), folder.uri, DpoObjective(dpo), dpo, training, 0, "run", silent)
    plan = plan_batches(read_rows(folder, PairTokens), dpo, 1, job.seed)
    engine = open_engine(model, job, 1)
    reference = reference_logprobs(engine, plan, job)
    steps = []
    for step, batch in enumerate(plan):
        rate = set_rate(engine, step, len(plan), dpo)
        metrics = take_step(engine, batch, batch.ranks[0], reference, job)
        norm = float(engine.get_global_grad_norm())
        steps.append({**metrics, "learning_rate": rate, "grad_norm": norm, "ids": [e.id for e in batch.examples()]})
    check_first_loss(steps[0]["preference_loss"], job.objective.first_loss)
    return steps


if __name__ == "__main__":
    model, folder, dpo = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    steps = worker_steps(Path(model), Folder(folder), Dpo.model_validate_json(dpo))
    Folder(folder).write_json("steps.json", steps)
    dist.destroy_process_group()
