"""One optimizer step of one rank: forward and backward passes of its micro-batches, then the update."""

import math
from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from selfreward_ray.recipe.training import Optimization
from selfreward_ray.training.batches import Batch, MicroBatch
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import Reference, learning_rate
from selfreward_ray.training.router import router_weight
from selfreward_ray.training.zero3 import said_of


def set_rate(engine: Any, step: int, steps: int, optimization: Optimization) -> float:
    """Give the optimizer the learning rate of `step` (0-based) of `steps`."""
    o = optimization
    rate = learning_rate(step, steps, o.schedule, o.learning_rate, o.final_learning_rate, o.warmup_steps)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    return rate


def take_step(
    engine: Any, batch: Batch[Any], micros: tuple[MicroBatch[Any], ...], reference: Reference, job: TrainJob
) -> dict[str, float]:
    """One optimizer step; returns the step's loss and metrics over all ranks, a unit of weight each.

    Every rank calls it. A loss that is not finite raises nothing: DeepSpeed skips the update on all ranks.
    """
    weight = sum(map(job.objective.weight, batch.examples()))
    balance = router_weight(engine.module.model.config, job.training.router_loss)
    sums: Counter[str] = Counter()
    for done, micro in enumerate(micros, start=1):
        engine.set_gradient_accumulation_boundary(done == len(micros))
        said = said_of(engine, micro)
        loss, metrics = job.objective.loss(micro.examples, said.logprobs, reference)
        if said.router_losses:
            router = _router_loss(micro.examples, said.router_losses, job)
            loss = loss + balance * router
            metrics["router_loss"] = router.item()
        if not torch.isfinite(loss):
            loss = loss * math.nan  # nor is its gradient, then: DeepSpeed skips the step by its norm over all ranks
        share = 0.0 if micro.blank else 1.0
        # DeepSpeed averages gradients over ranks; the step's loss is a sum over them.
        engine.backward(loss * (share * dist.get_world_size() / weight), scale_wrt_gas=False)
        engine.step()
        sums.update({name: share * value for name, value in {"loss": loss.item(), **metrics}.items()})
    total = torch.tensor([sums[name] for name in sorted(sums)], dtype=torch.float64, device=engine.device)
    dist.all_reduce(total)
    return {name: value / weight for name, value in zip(sorted(sums), total.tolist(), strict=True)}


def _router_loss(examples: tuple[Any, ...], losses: dict[str, Tensor], job: TrainJob) -> Tensor:
    """Summed over examples, each by its weight: the mean of its sequences' losses."""
    return torch.stack(
        [job.objective.weight(e) * torch.stack([losses[s.id] for s in e.sequences()]).mean() for e in examples]
    ).sum()
