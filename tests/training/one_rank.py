"""One rank of small training runs without Ray, in a folder that holds the model."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

from zero3_runs import GATHERED, all_logprobs

BATCH, STEPS = 6, 3
_LORA = {"rank": 4, "alpha": 8}
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "gathered": {"deepspeed": GATHERED},
    "gathered-stored": {"deepspeed": GATHERED, "gradient_checkpointing": False},
    "lora": {"lora": _LORA},
    "lora-gathered": {"lora": _LORA, "deepspeed": GATHERED},
    "lora-stored": {"lora": _LORA, "gradient_checkpointing": False},
}
"""Of training: fields of the recipe's section."""


def job_of(folder: Path, **training: Any):
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
    workers = Training.model_validate({"dtype": "float32"} | training)
    return TrainJob("DPO", str(folder), str(folder), DpoObjective(dpo), dpo, workers, 0, "run", None)


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
    """Train in each way; rank 0 writes what the steps were into the folder ``WAY-RANKS``, beside the model."""
    folder, ranks = Path(name), int(os.environ["WORLD_SIZE"])
    for way, training in WAYS.items():
        engine = _open(folder, training)
        steps = _steps(engine, folder, training, 0, STEPS)
        _export(engine, folder, f"{way}-{ranks}")
        if os.environ["RANK"] == "0":
            (folder / f"{way}-{ranks}" / "steps.json").write_text(json.dumps(steps))


def resume(name: str) -> None:
    """Train in each way, and export a snapshot and write a checkpoint before the last step. Then take this step with
    another engine. The models are ``WAY-snapshot`` and ``WAY-resumed``."""
    import ray.train
    import torch.distributed as dist

    from selfreward_ray.training.checkpoints import restore, save
    from selfreward_ray.training.history import History

    folder = Path(name)
    for way, training in WAYS.items():
        stored = folder / f"{way}-checkpoint"

        def keep(_: Any, checkpoint: Any, validation: bool, stored: Path = stored) -> None:
            shutil.copytree(checkpoint.path, stored, dirs_exist_ok=True)

        engine = _open(folder, training)
        _steps(engine, folder, training, 0, STEPS - 1)
        _export(engine, folder, f"{way}-snapshot")
        with mock.patch.object(ray.train, "report", keep):
            save(engine, History(), "run")
        dist.barrier()
        engine = _open(folder, training)
        # The worker's passes for the reference come before the checkpoint too.
        all_logprobs(engine, _plan(folder), dist.get_rank())
        restore(engine, ray.train.Checkpoint.from_directory(stored), "run")
        _steps(engine, folder, training, STEPS - 1, STEPS)
        _export(engine, folder, f"{way}-resumed")


def _open(folder: Path, training: dict[str, Any]) -> Any:
    import torch

    from selfreward_ray.training.zero3 import open_engine

    torch.manual_seed(0)  # of adapters
    return open_engine(folder, job_of(folder, **training), int(os.environ["WORLD_SIZE"]))


def _plan(folder: Path) -> Any:
    from selfreward_ray.training.batches import plan_batches

    return plan_batches(pairs(), job_of(folder).optimization, int(os.environ["WORLD_SIZE"]), seed=0)


def _steps(engine: Any, folder: Path, training: dict[str, Any], begin: int, end: int) -> list[dict[str, float]]:
    """The plan's steps from `begin` to `end` by the worker's own."""
    from selfreward_ray.training.step import take_step

    job, rank = job_of(folder, **training), int(os.environ["RANK"])
    steps = []
    for batch in _plan(folder)[begin:end]:
        metrics = take_step(engine, batch, batch.ranks[rank], reference(), job)
        norm = float(engine.get_global_grad_norm())
        steps.append({"loss": metrics["loss"], "norm": norm, "passes": len(batch.ranks[rank])})
    return steps


def _export(engine: Any, folder: Path, name: str) -> None:
    from selfreward_ray.training.export import export_model

    export_model(engine.module.model, folder, str(folder / name))
