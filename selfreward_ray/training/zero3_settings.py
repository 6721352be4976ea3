"""DeepSpeed's configuration of a training: what the loop decides, and how ZeRO-3 divides its work."""

from collections.abc import Mapping
from typing import Any

from selfreward_ray.cluster.devices import on_gpus
from selfreward_ray.recipe.training import Optimization, Training

# In elements; the largest bucket and the prefetched one are DeepSpeed's own.
_SMALLEST_BUCKET, _LARGEST_BUCKET, _PREFETCHED = 20_000_000, 500_000_000, 50_000_000
_WHOLE_WEIGHT, _WHOLE_MODEL = 1_000_000, 1_000_000_000


def deepspeed_config(optimization: Optimization, training: Training, ranks: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a ZeRO-3 run for a model of so many `parameters`, with the recipe's own settings."""
    zero: dict[str, Any] = {"stage": 3, **division(parameters, training)}
    for name, wanted in (
        ("offload_optimizer", training.offload_optimizer),
        ("offload_param", training.offload_parameters),
    ):
        if wanted:
            zero[name] = {"device": "cpu", "pin_memory": True}
    ours = {
        # For the form only: steps differ in how many passes they have, and the worker says which is the last.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": ranks,
        "bf16": {"enabled": training.dtype == "bfloat16"},
        # Between the passes of a step: in bfloat16 a small gradient would vanish beside the sum of those before it.
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": optimization.gradient_clipping,
        "steps_per_print": 10**9,
    }
    return _merged(ours, training.deepspeed)


def division(parameters: int, training: Training) -> dict[str, Any]:
    """How ZeRO-3 divides a model of so many `parameters`, by the size of the model and the kind of device.

    Sizes are elements. DeepSpeed's own defaults are made for models of many billions: by them the buffers of a model
    below 500M would each be a copy of all of it.
    """
    # A thousandth of a dense model is about the square of its hidden size, which transformers takes for "auto".
    bucket = min(max(parameters // 1000, _SMALLEST_BUCKET), _LARGEST_BUCKET)
    sizes: dict[str, Any] = {
        # On CPUs gathers and computing would only take the cores from each other.
        "overlap_comm": False,
        # Whole on each rank between updates: of a large model its norms and adapters, which are not worth a message
        # each; of a small one all but the embeddings.
        "stage3_param_persistence_threshold": _WHOLE_WEIGHT,
        # Gradients on their way to other ranks: a buffer of this size.
        "reduce_bucket_size": bucket,
        # Gathered ahead of their use: at least the next matrix, whatever its size.
        "stage3_prefetch_bucket_size": max(bucket, _PREFETCHED),
        # Updated at a time, with a copy in float32.
        "sub_group_size": _SMALLEST_BUCKET,
    }
    if not on_gpus(training.gpus_per_worker):
        return sizes
    # A GPU has room for the whole of a small model, whose passes then gather nothing.
    stays_whole = parameters <= _WHOLE_MODEL and not training.offload_parameters
    return sizes | {
        "overlap_comm": True,
        "stage3_param_persistence_threshold": _WHOLE_MODEL if stays_whole else _WHOLE_WEIGHT,
        "sub_group_size": 5 * _SMALLEST_BUCKET,  # it wants few large calls
    }


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`theirs` over `ours`, section by section."""
    both = {
        name: _merged(ours[name], value) if isinstance(value, Mapping) and name in ours else value
        for name, value in theirs.items()
    }
    return {**ours, **both}
