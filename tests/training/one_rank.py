"""One rank of a small training run without Ray, in a folder that holds the model."""

import json
import os
from pathlib import Path

BATCH = 6


def job_of(folder: Path):
    from selfreward_ray.recipe.training import Dpo, Training
    from selfreward_ray.training.job import TrainJob
    from selfreward_ray.training.objectives import DpoObjective

    dpo = Dpo(
        learning_rate=1e-3,
        final_learning_rate=1e-3,
        beta=0.5,
        nll_weight=0.1,
        batch_size=BATCH,
        micro_batch_tokens=60,
        max_tokens=64,
    )
    training = Training(dtype="float32", gradient_checkpointing=True)
    return TrainJob("DPO", str(folder), str(folder), DpoObjective(dpo), dpo, training, 0, "run", None)


def pairs():
    """Fifteen: two whole steps, and one of three pairs, fewer than four ranks. Lengths of 10 to 60 tokens."""
    import random

    from selfreward_ray.records import PairTokens

    rng = random.Random(4)

    def ids(least: int, most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 400) for _ in range(rng.randint(least, most)))

    return [PairTokens(f"p{i}", ids(5, 20), ids(3, 20), ids(2, 20)) for i in range(15)]


def reference():
    """About what a random model says of 400 tokens: ln 1/400 = −6 nats each."""
    return {s.id: -6.0 * len(s.target_ids) for p in pairs() for s in p.sequences()}


def train(name: str) -> None:
    """The plan's steps by the worker's own; rank 0 writes what they were into the folder ``ranks{ranks}``."""
    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.export import export_model
    from selfreward_ray.training.step import take_step
    from selfreward_ray.training.zero3 import open_engine

    folder, rank, ranks = Path(name), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    out = folder / f"ranks{ranks}"
    job = job_of(folder)
    engine = open_engine(folder, job, ranks)
    steps = []
    for batch in plan_batches(pairs(), job.optimization, ranks, seed=0):
        metrics = take_step(engine, batch, batch.ranks[rank], reference(), job)
        norm = float(engine.get_global_grad_norm())
        steps.append({"loss": metrics["loss"], "norm": norm, "passes": len(batch.ranks[rank])})
    export_model(engine.module.model, folder, str(out))
    if rank == 0:
        (out / "steps.json").write_text(json.dumps(steps))
