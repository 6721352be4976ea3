"""The settings of vLLM's engine that a recipe passes on: which are refused, and which may change what is sampled."""

from typing import Any

_OF_THE_MODEL = "is that of the model which a step asks; leave it out, and set the field model"
_OF_AN_ADAPTER = "is decided by the model, which is an adapter or not; leave it out"
_REPLICAS = (
    "is decided by the pool, whose replicas are engines of their own; leave it out, and set inference.max_replicas"
)
_NODES = "is decided by the pool; leave it out, and set inference.nodes_per_replica"
_TOKENS = "is decided by the programs, which need texts and token ids; leave it out"

DECIDED: dict[str, str] = {
    **dict.fromkeys(
        (
            "model", "model_weights", "tokenizer", "tokenizer_mode", "tokenizer_revision", "revision", "code_revision",
            "hf_config_path",
        ),
        _OF_THE_MODEL,
    ),
    "seed": "is that of the recipe; leave it out, and set the field seed",
    "tensor_parallel_size": "is decided by the pool; leave it out, and set inference.gpus_per_replica",
    **dict.fromkeys(("pipeline_parallel_size", "nnodes", "node_rank", "master_addr", "master_port"), _NODES),
    **dict.fromkeys(
        (
            "data_parallel_size", "data_parallel_size_local", "data_parallel_rank", "data_parallel_start_rank",
            "data_parallel_address", "data_parallel_rpc_port", "data_parallel_backend", "data_parallel_external_lb",
            "data_parallel_hybrid_lb", "data_parallel_multi_port_external_lb",
        ),
        _REPLICAS,
    ),
    **dict.fromkeys(("enable_lora", "max_loras", "max_lora_rank", "default_mm_loras"), _OF_AN_ADAPTER),
    **dict.fromkeys(("skip_tokenizer_init", "tokens_only", "runner", "convert"), _TOKENS),
}  # fmt: skip
"""Settings that the program decides, by name: what decides them, and what to do."""

SPEED_ALONE = frozenset(
    (
        # memory
        "gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size", "cpu_offload_gb",
        "cpu_offload_params", "offload_backend", "offload_group_size", "offload_num_in_group", "offload_params",
        "offload_prefetch_step", "kv_offloading_backend", "kv_offloading_size", "enable_prefix_caching",
        "prefix_caching_hash_algo", "prefix_cache_retention_interval",
        # what is computed at a time
        "max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "max_num_active_seqs",
        "enable_chunked_prefill", "long_prefill_token_threshold", "scheduling_policy", "async_scheduling",
        "stream_interval",
        # how it is compiled, and by which kernels
        "enforce_eager", "compilation_config", "optimization_level", "performance_mode", "cudagraph_capture_sizes",
        "max_cudagraph_capture_size", "attention_backend", "moe_backend", "linear_backend", "kernel_config",
        "disable_custom_all_reduce", "disable_cascade_attn", "enable_flashinfer_autotune",
        # where, and how it is started and watched
        "distributed_executor_backend", "distributed_timeout_seconds", "cpu_distributed_timeout_seconds",
        "enable_expert_parallel", "all2all_backend", "enable_eplb", "eplb_config", "numa_bind", "numa_bind_cpus",
        "numa_bind_nodes", "device_ids", "max_parallel_loading_workers", "download_dir", "safetensors_load_strategy",
        "safetensors_prefetch_block_size", "safetensors_prefetch_num_threads", "use_tqdm_on_load",
        "disable_log_stats", "enable_log_requests", "log_level", "log_config_file", "logging_config",
        "aggregate_engine_logging", "shutdown_timeout", "profiler_config", "served_model_name",
    )
)  # fmt: skip
"""Settings that decide where and how fast tokens are computed, and change them by rounding at most."""


def check_engine(engine: dict[str, Any]) -> None:
    """Raise `ValueError` for a setting that the program decides, and for a length that is no number of tokens."""
    for name in engine:
        if decided := DECIDED.get(name):
            raise ValueError(f"{name} {decided}")
    longest = engine.get("max_model_len")
    if longest is not None and (type(longest) is not int or (longest < 1 and longest != -1)):
        raise ValueError(
            "max_model_len must be a whole number of tokens above 0, or -1 for what the GPU's memory holds, and is "
            f"{longest!r}"
        )


def sampling_settings(engine: dict[str, Any]) -> dict[str, Any]:
    """The settings that may change what is sampled, such as ``dtype``, ``quantization`` and ``max_model_len``. One that
    is not known to decide speed alone is among them."""
    return {name: value for name, value in engine.items() if name not in SPEED_ALONE}
