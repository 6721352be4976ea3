"""What ``training.deepspeed`` may hold: the settings that DeepSpeed is given, and those that it is not, with remedies.

The names are written down: a recipe is checked without DeepSpeed, whose import takes seconds and which need not be
installed there. Tests compare them with those of the version that the package requires. DeepSpeed itself ignores an
unknown name outside ``zero_optimization``.
"""

import difflib
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_ZERO = "zero_optimization."

PASSED: dict[str, Any] = {
    _ZERO + "stage": Literal[3],
    _ZERO + "reduce_bucket_size": PositiveInt,
    _ZERO + "sub_group_size": PositiveInt,
    _ZERO + "stage3_prefetch_bucket_size": NonNegativeInt,
    _ZERO + "stage3_param_persistence_threshold": NonNegativeInt,
    _ZERO + "stage3_model_persistence_threshold": NonNegativeInt,
    _ZERO + "stage3_max_live_parameters": NonNegativeInt,
    _ZERO + "stage3_max_reuse_distance": NonNegativeInt,
    _ZERO + "stage3_module_granularity_threshold": NonNegativeInt,
    _ZERO + "stage3_use_all_reduce_for_fetch_params": bool,
    _ZERO + "stage3_allgather_sequential": bool,
    _ZERO + "overlap_comm": bool,
    _ZERO + "contiguous_gradients": bool,
    _ZERO + "reduce_scatter": bool,
    _ZERO + "memory_efficient_linear": bool,
    _ZERO + "log_trace_cache_warnings": bool,
    _ZERO + "enable_sanity_checks": bool,
    _ZERO + "leaf_module.classes": list[str],
    _ZERO + "leaf_module.names": list[str],
    _ZERO + "leaf_module.name_suffixes": list[str],
    "communication_data_type": Literal["fp32"],
    "comms_logger.enabled": bool,
    "comms_logger.verbose": bool,
    "comms_logger.prof_all": bool,
    "comms_logger.prof_ops": list[str],
    "comms_logger.debug": bool,
    "timers.throughput.enabled": bool,
    "timers.throughput.synchronized": bool,
    "wall_clock_breakdown": bool,
    "memory_breakdown": bool,
    "steps_per_print": PositiveInt,
    "dump_state": bool,
    "log_level": Literal["debug", "info", "warning", "error", "critical"],
    "disable_python_gc": bool,
}
"""By name, the types of the settings that are passed on: how gathers, reductions and updates are divided, and what
DeepSpeed logs. None of them changes an update by more than the order and the rounding of sums."""

_BATCHES = "set batch_size and micro_batch_tokens of sft and dpo: they divide the examples into steps and passes"
_OPTIMIZER = "set learning_rate and weight_decay of sft and dpo: the optimizer is AdamW"
_DTYPE = "set training.dtype; gradients are summed in float32, and losses are not scaled"
_OPTIMIZER_STATE = "set training.offload_optimizer"
_WEIGHTS = "set training.offload_parameters"
_CHECKPOINTS = "set training.checkpoint_every: checkpoints are not DeepSpeed's"
_TRACKERS = "set tracking.trackers: the metrics of each step go there"
_EXPORT = "leave it out: each worker exports its share of the model"
_OTHER_STAGE = "leave it out: it has no effect in ZeRO-3"
_UNUSED = "leave it out: training has no use for it"
_REMOVED = "leave it out: DeepSpeed has removed it"

REFUSED: dict[str, str] = {
    "train_batch_size": _BATCHES,
    "train_micro_batch_size_per_gpu": _BATCHES,
    "gradient_accumulation_steps": _BATCHES,
    "managed_gradient_accumulation": _BATCHES,
    "dataloader_drop_last": _BATCHES,
    "optimizer": _OPTIMIZER,
    "zero_allow_untested_optimizer": _OPTIMIZER,
    "zero_force_ds_cpu_optimizer": _OPTIMIZER,
    "scheduler": "set schedule, final_learning_rate and warmup_steps of sft and dpo",
    "gradient_clipping": "set sft.gradient_clipping and dpo.gradient_clipping",
    **dict.fromkeys(("bf16", "bfloat16", "fp16", "torch_autocast", "data_types"), _DTYPE),
    "activation_checkpointing": "set training.gradient_checkpointing",
    "checkpoint": _CHECKPOINTS,
    "datastates_ckpt": _CHECKPOINTS,
    **dict.fromkeys(("tensorboard", "wandb", "csv_monitor", "comet"), _TRACKERS),
    "flops_profiler": "leave it out: the metrics of each step have tokens per second and, on GPUs, MFU",
    "prescale_gradients": _OTHER_STAGE,
    "gradient_predivide_factor": _OTHER_STAGE,
    "gradient_allreduce_op": "leave it out: a step's loss is weighed for the mean over workers",
    "disable_allgather": _OTHER_STAGE,
    "sequence_parallel_size": "leave it out: a sequence is computed on one GPU",
    "seq_parallel_communication_data_type": "leave it out: a sequence is computed on one GPU",
    **dict.fromkeys(
        (
            "aio", "autotuning", "compile", "data_efficiency", "expert_parallel", "hybrid_engine", "pipeline",
            "tensor_parallel", "use_data_before_expert_parallelism", "vocabulary_size", "weight_quantization",
        ),
        _UNUSED,
    ),
    **dict.fromkeys(
        (
            "nebula", "compression_training", "amp", "quantize_training", "sparse_gradients", "eigenvalue",
            "sparse_attention", "elasticity", "graph_harvesting", "curriculum_learning", "progressive_layer_drop",
            _ZERO + "mics_shard_size", _ZERO + "mics_hierarchical_params_gather", _ZERO + "zeropp_loco_param",
        ),
        _REMOVED,
    ),
    _ZERO + "offload_optimizer": _OPTIMIZER_STATE,
    _ZERO + "cpu_offload": _OPTIMIZER_STATE,
    _ZERO + "cpu_offload_use_pin_memory": _OPTIMIZER_STATE,
    _ZERO + "offload_param": _WEIGHTS,
    _ZERO + "cpu_offload_param": _WEIGHTS,
    _ZERO + "zenflow": "leave it out: it delays a part of each update",
    _ZERO + "zero_quantized_weights": "leave it out: passes would compute with weights of 8 bits, and the exported "
    "model has others",
    _ZERO + "zero_quantized_nontrainable_weights": "leave it out: the exported model would have weights that were "
    "rounded to 8 bits",
    _ZERO + "zero_quantized_gradients": "leave it out: its kernel takes all gradients for float16, and here they are "
    "bfloat16 or float32",
    _ZERO + "zero_hpz_partition_size": "leave it out: hpZ has not been tested here",
    _ZERO + "override_module_apply": "leave it out: loading the model needs it",
    _ZERO + "stage3_gather_16bit_weights_on_model_save": _EXPORT,
    _ZERO + "stage3_gather_fp16_weights_on_model_save": _EXPORT,
    **dict.fromkeys(
        (
            _ZERO + name
            for name in (
                "allgather_bucket_size", "allgather_partitions", "compute_grad_norm", "elastic_checkpoint",
                "ignore_unused_parameters", "legacy_stage1", "load_from_fp32_weights", "parameter_alignment",
                "pipeline_loading_checkpoint", "round_robin_gradients", "save_muon_momentum_buffer_in_memory",
                "use_multi_rank_bucket_allreduce",
            )
        ),
        _OTHER_STAGE,
    ),
}  # fmt: skip
"""By name, what to do instead: settings that the loop decides, that other fields of the recipe decide, and that would
do nothing or do harm."""

_SECTIONS = {name.rsplit(".", deep)[0] for name in PASSED for deep in range(1, name.count(".") + 1)}


def checked(settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` with values of their types. Raises pydantic's `ValidationError`, with an error for each setting that
    is not passed on and each value of another type."""
    errors: list[InitErrorDetails] = []
    found = _checked(settings, "", errors)
    if errors:
        raise ValidationError.from_exception_data("deepspeed", errors)
    return found


def _checked(values: dict[str, Any], section: str, errors: list[InitErrorDetails]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{section}{key}"
        place = tuple(name.split("."))
        try:
            if name in _SECTIONS and "." not in key:
                found[key] = _checked(TypeAdapter(dict[str, Any]).validate_python(value), f"{name}.", errors)
            else:
                found[key] = _value(section, key, value)
        except PydanticCustomError as error:
            errors.append({"type": error, "loc": place, "input": value})
        except ValidationError as error:
            errors += [
                {"type": one["type"], "loc": (*place, *one["loc"]), "input": one["input"], "ctx": one.get("ctx", {})}
                for one in error.errors()
            ]
    return found


def _value(section: str, key: str, value: Any) -> Any:
    """`value` in its type. Raises `PydanticCustomError` or `ValidationError` for a setting that is not passed on."""
    name = f"{section}{key}"
    if remedy := REFUSED.get(name):
        raise PydanticCustomError("deepspeed_refused", "{remedy}", {"remedy": remedy})
    if name not in PASSED or "." in key:
        hint = _hint(section, key)
        raise PydanticCustomError("deepspeed_unknown", "unknown setting of DeepSpeed; {hint}", {"hint": hint})
    if value == "auto":
        raise PydanticCustomError("deepspeed_auto", "leave it out: it then has its default")
    if isinstance(value, bool) and PASSED[name] is not bool:
        raise PydanticCustomError("int_type", "not a number")
    return TypeAdapter(PASSED[name]).validate_python(value)


def _hint(section: str, key: str) -> str:
    """The nearest name in `section` to an unknown `key`, else the nearest of all, else the names in the section."""
    beside = sorted({name.removeprefix(section).partition(".")[0] for name in PASSED if name.startswith(section)})
    whole = {name.rpartition(".")[2]: name for name in PASSED}
    last = key.rpartition(".")[2]
    if last == key and (near := difflib.get_close_matches(key, beside, n=1)):
        return f"did you mean {near[0]!r}?"
    if near := difflib.get_close_matches(last, whole, n=1):
        *sections, name = whole[near[0]].split(".")
        return f"did you mean {''.join(f'{one}: {{' for one in sections)}{name}: …{'}' * len(sections)}?"
    return f"known: {', '.join(beside)}"
