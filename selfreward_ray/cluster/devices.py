"""Whether a process with GPUs computes on them: the GPUs of a rehearsal are only declared."""

import os

DECLARED_GPUS = "SELFREWARD_DECLARED_GPUS"
"""Environment variable of the nodes of a rehearsal, whose GPUs are declared to Ray but do not exist."""


def on_gpus(gpus: int) -> bool:
    """Whether a process with `gpus` GPUs computes on them. It computes on CPUs if the GPUs are only declared."""
    return gpus > 0 and DECLARED_GPUS not in os.environ


def collectives(gpus: int) -> str:
    """The backend of torch.distributed for ranks with `gpus` GPUs each. NCCL works between GPUs only."""
    return "nccl" if on_gpus(gpus) else "gloo"


def slow_in_bfloat16(gpus: int) -> bool:
    """Whether float32 is faster than bfloat16 for a process with `gpus` GPUs: on a CPU without AVX-512, not in a
    rehearsal."""
    if gpus > 0 or DECLARED_GPUS in os.environ:
        return False
    import torch

    return bool(torch.backends.cpu.get_cpu_capability() == "AVX2")
