"""A rank that trains what its folder describes, by the parts of the real worker."""

import pickle
from pathlib import Path


def train(folder: str) -> None:
    """Run the pickled job in `folder`, without Ray Train, and leave what its worker does."""
    import torch

    from selfreward_ray.store.tables import read_rows
    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.history import History
    from selfreward_ray.training.step import set_rate, take_step
    from selfreward_ray.training.worker import _write_history
    from selfreward_ray.training.zero3 import open_engine

    job = pickle.loads((Path(folder) / "job.pkl").read_bytes())  # noqa: S301 - of the test
    torch.manual_seed(job.seed)
    plan = plan_batches(read_rows(job.folders.training, job.objective.record), job.optimization, 1, job.seed)
    engine, history = open_engine(Path(job.model), job, 1), History()
    for step, batch in enumerate(plan):
        rate = set_rate(engine, step, len(plan), job.optimization)
        metrics = take_step(engine, batch, batch.ranks[0], {}, job)
        history.add(metrics | {"tokens": 1}, rate=rate, seconds=1.0, skipped=not engine.was_step_applied())
    _write_history(job.folders.training, history, {})
    job.folders.model.write_json("config.json", {})
