"""Whether a process that holds GPUs computes on them."""

import os

DECLARED_GPUS = "SELFREWARD_DECLARED_GPUS"
"""Set in the environment of a rehearsal's nodes, whose GPUs Ray declares and no machine has."""


def on_gpus(gpus: int) -> bool:
    """Whether work that holds `gpus` GPUs runs on them; where they are only declared it runs on CPUs."""
    return gpus > 0 and DECLARED_GPUS not in os.environ


def collectives(gpus: int) -> str:
    """PyTorch's backend for ranks that hold `gpus` GPUs each: NCCL exchanges data between GPUs only."""
    return "nccl" if on_gpus(gpus) else "gloo"


def slow_in_bfloat16(gpus: int) -> bool:
    """Whether work that holds `gpus` GPUs would be faster here in float32: on a CPU without AVX-512, not rehearsed."""
    if gpus > 0 or DECLARED_GPUS in os.environ:
        return False
    import torch

    return bool(torch.backends.cpu.get_cpu_capability() == "AVX2")
