"""A policy under DeepSpeed's ZeRO-3: every weight, gradient and optimizer state in shards, one a rank."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import deepspeed
import torch
from deepspeed.utils import set_z3_leaf_module
from torch import Tensor

from selfreward_ray.cluster.devices import collectives, on_gpus
from selfreward_ray.models.pretrained import pretrained_config
from selfreward_ray.training.agreement import together
from selfreward_ray.training.architecture import set_dropout, use_liger_kernels
from selfreward_ray.training.batches import MicroBatch
from selfreward_ray.training.exchange import use_exchange
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.loading import load_sharded
from selfreward_ray.training.lora import add_adapter, saved_weights
from selfreward_ray.training.naming import folder_names
from selfreward_ray.training.objectives import LogProbs
from selfreward_ray.training.packing import pack
from selfreward_ray.training.policy import Policy, by_sequence, router_by_sequence
from selfreward_ray.training.router import router_weight
from selfreward_ray.training.shards import check_names, expected_shapes
from selfreward_ray.training.zero3_settings import deepspeed_config


def join_ranks(gpus_per_worker: int) -> None:
    """Let DeepSpeed communicate by the process group of this rank, or by a new one.

    Without its kernel for shared memory: on CPUs it is compiled at the first start, which takes a minute and needs a
    compiler and ninja, and inference alone uses it.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=collectives(gpus_per_worker))
    if not on_gpus(gpus_per_worker):
        use_exchange()


def open_engine(source: Path, job: TrainJob, ranks: int) -> Any:
    """DeepSpeed's engine around the policy of the folder `source`, whose weights are read on rank 0 alone.

    Every rank calls it. Raises `Final`, on all ranks, for a model that cannot be trained here or could not be exported,
    for LoRA targets that cannot be trained, and as `load_sharded` does.
    """
    join_ranks(job.training.gpus_per_worker)
    config = together(lambda: _configuration(source, job.training.dropout))
    shapes = together(lambda: expected_shapes(config))
    settings = deepspeed_config(job.optimization, job.training, ranks, sum(map(math.prod, shapes.values())))
    model = load_sharded(source, config, settings, getattr(torch, job.training.dtype))
    policy = together(lambda: _policy(model, config, set(shapes), job))
    # Now, not when a training of days is over.
    names = folder_names(source, config)
    together(lambda: names.check_covers(saved_weights(policy.model)))
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    # The fused kernel: four times faster on a CPU than the loop over parameters.
    optimizer = torch.optim.AdamW(
        trained, lr=job.optimization.learning_rate, weight_decay=job.optimization.weight_decay, fused=True
    )
    engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=settings)
    engine.train()
    return engine


def _configuration(source: Path, dropout: float | None) -> Any:
    config = pretrained_config(source)
    set_dropout(config, dropout)
    return config


def _policy(model: Any, config: Any, names: set[str], job: TrainJob) -> Policy:
    """`model`, whose weights have these `names`, as it is trained; raises as `open_engine` does."""
    if job.training.liger_kernels:
        use_liger_kernels(model)
    if job.training.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    check_names(set(saved_weights(model)), names)
    routes = router_weight(config, job.training.router_loss) > 0
    policy = Policy(model, job.optimization.max_tokens, routes=routes)
    if job.training.lora.rank:
        add_adapter(model, job.training.lora)
        # DeepSpeed reduces a layer's gradients when those of its inputs are there.
        model.enable_input_require_grads()
    _gather_by_layers(model)
    return policy


def _gather_by_layers(model: Any) -> None:
    """Let ZeRO-3 gather a decoder layer's weights, and reduce its gradients, all at once.

    By default its hooks run at each of the ten and more modules of a layer, forward and backward.
    """
    layers = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            set_z3_leaf_module(module, True)


@contextmanager
def without_dropout(engine: Any) -> Iterator[None]:
    """The policy in evaluation mode inside the block, in training mode after it."""
    engine.eval()
    try:
        yield
    finally:
        engine.train()


class Said(NamedTuple):
    """What the policy says of the sequences of a pass, by their ids."""

    logprobs: LogProbs
    router_losses: dict[str, Tensor]
    """Scalars, in a training pass of a mixture of experts whose router is trained for balance; else empty."""


def said_of(engine: Any, micro: MicroBatch[Any]) -> Said:
    """What the policy says of `micro`; every rank calls it equally often."""
    packed = pack(micro.examples)
    output = engine(packed)
    return Said(by_sequence(packed, output), router_by_sequence(packed, output))


def logprobs_of(engine: Any, micro: MicroBatch[Any]) -> LogProbs:
    """Log-probs of all target tokens of `micro`; every rank calls it equally often."""
    return said_of(engine, micro).logprobs
