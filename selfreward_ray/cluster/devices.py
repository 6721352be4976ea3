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
