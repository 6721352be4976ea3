"""Speed, memory and utilization of a rank while it trains."""

import resource
from typing import Any

import torch
import torch.distributed as dist

from selfreward_ray.cluster.devices import on_gpus
from selfreward_ray.recipe.training import Training
from selfreward_ray.training.batches import Batch
from selfreward_ray.training.model_flops import ModelFlops, peak_flops
from selfreward_ray.training.packing import packed_length

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class Gauges:
    """What a step's metrics say of its cost. `config` is the model's transformers configuration."""

    def __init__(self, config: Any, training: Training):
        self._memory, peak = _process_memory, None
        if on_gpus(training.gpus_per_worker):
            self._memory, peak = torch.cuda.max_memory_allocated, peak_flops(torch.cuda.get_device_name())
        # The peak is that of bfloat16. Adapters need fewer operations, and experts are not all in use.
        dense = not any(getattr(config, name, None) for name in _EXPERTS)
        self._peak = peak if training.dtype == "bfloat16" and dense and not training.lora.rank else None
        self._flops = None if self._peak is None else ModelFlops.of(config)

    def of(self, batch: Batch[Any], seconds: float) -> dict[str, float]:
        """``tokens``: of all ranks, in their forward passes. ``tokens_per_second``. ``peak_memory_gib``: the most that
        this rank has had so far, allocated by PyTorch on its GPU, or of its process without GPUs. ``mfu``: model FLOPs
        per second as a fraction of the GPUs' peak, where both are known.
        """
        tokens = sum(packed_length(micro.examples) for rank in batch.ranks for micro in rank if not micro.blank)
        found = {"tokens": tokens, "tokens_per_second": tokens / seconds, "peak_memory_gib": self._memory() / 2**30}
        if self._peak is not None and self._flops is not None:
            reached = self._flops.training(s for e in batch.examples() for s in e.sequences()) / seconds
            found["mfu"] = reached / (self._peak * dist.get_world_size())
        return found


def _process_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
