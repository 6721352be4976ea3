"""The matrix of architectures: what is tested of each, and what the manual says of it (`docs/architectures.md`).

Pure data: the build of the manual reads it, and no engine is imported.
"""

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 400
"""Of the tiny model's tokenizer."""
_SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048, "tie_word_embeddings": False,
    # With the default of 0.02 all log-probs would be nearly equal.
    "initializer_range": 0.1,
}  # fmt: skip
_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT = {
    # The kernels of vLLM know no other sizes of these.
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "q_lora_rank": 32,
    "num_key_value_heads": 2, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 64, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1,
}  # fmt: skip
_MULTIPLIERS = {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1}
_WINDOWS = {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}
_TIED = {"tie_word_embeddings": True}
_IN_FLOAT32 = {"attention_backend": "CPU_MLA"}
"""On CPUs with AMX vLLM would take kernels for bfloat16."""


@dataclass(frozen=True)
class Architecture:
    """A kind of model, as a tiny one with random weights."""

    name: str
    type: str
    """transformers' name of it, `model_type`."""
    models: str
    """Which models are of this kind."""
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of transformers' configuration beside those of all."""
    without: tuple[str, ...] = ()
    """Arguments of all that its configuration does not know."""
    written: dict[str, Any] = field(default_factory=dict)
    """What the `config.json` of its folders on the hub has in the place of what transformers writes."""
    rejected: str = ""
    """The message with which it is rejected; empty if it is trained."""
    unread_by_vllm: str = ""
    """What vLLM's build for CPUs makes of such a model; empty if it gives the log-probs of transformers."""
    vllm: dict[str, Any] = field(default_factory=dict)
    """Arguments of vLLM's engine."""
    balances: bool = False
    """Whether it has a router loss."""
    routes_at_random: bool = False
    """Whether its router draws in training."""

    def settings(self) -> dict[str, Any]:
        """Arguments of transformers' configuration."""
        common = {name: value for name, value in (_SIZES | _TOKENS).items() if name not in self.without}
        return common | self.config


def _rope(**settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10_000.0} | settings}


ARCHITECTURES = (
    Architecture("llama", "llama", "Llama 2 and 3, TinyLlama"),
    Architecture("llama-tied", "llama", "SmolLM2", _TIED),
    Architecture("llama-biases", "llama", "Llama with biases", {"attention_bias": True, "mlp_bias": True}),
    Architecture(
        "llama-odd-heads", "llama", "three heads on one, together wider than the model",
        {"hidden_size": 96, "num_attention_heads": 3, "head_dim": 64},
    ),
    Architecture(
        "llama-rope-llama3", "llama", "Llama 3.1 to 3.3",
        _rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64),
    ),
    Architecture(
        "llama-rope-yarn", "llama", "Llama with YaRN",
        _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=512),
    ),
    Architecture("llama-rope-linear", "llama", "Llama with linear scaling", _rope(rope_type="linear", factor=4.0)),
    Architecture("mistral", "mistral", "Mistral 7B v0.2 and v0.3", {"sliding_window": None}),
    Architecture("qwen2", "qwen2", "Qwen 2, Qwen 2.5"),
    Architecture("qwen3", "qwen3", "Qwen 3"),
    Architecture("qwen3-moe", "qwen3_moe", "Qwen 3 MoE", _EXPERTS, balances=True),
    Architecture("gemma", "gemma", "Gemma 1", _TIED),
    Architecture("gemma3", "gemma3_text", "Gemma 3, text alone", _TIED | _WINDOWS | {"query_pre_attn_scalar": 32}),
    Architecture("phi3", "phi3", "Phi 3, Phi 4"),
    Architecture(
        "phimoe", "phimoe", "Phi 3.5 MoE", _LOCAL_EXPERTS, balances=True, routes_at_random=True,
        written={"architectures": ["PhiMoEForCausalLM"]}, unread_by_vllm="log-probs that are not finite, in float32",
    ),
    Architecture("mixtral", "mixtral", "Mixtral 8×7B and 8×22B", _LOCAL_EXPERTS, balances=True),
    Architecture("olmo", "olmo", "OLMo 1"),
    Architecture("olmo2", "olmo2", "OLMo 2"),
    Architecture("olmo3", "olmo3", "OLMo 3", _WINDOWS),
    Architecture("olmoe", "olmoe", "OLMoE", _EXPERTS | {"intermediate_size": 64}, balances=True),
    Architecture(
        "gpt2", "gpt2", "GPT-2", {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 2048}, without=tuple(_SIZES)
    ),
    Architecture("gpt-neox", "gpt_neox", "GPT-NeoX, Pythia", without=("num_key_value_heads", "head_dim")),
    Architecture(
        "opt", "opt", "OPT", _TIED | {"ffn_dim": 128, "word_embed_proj_dim": 64, "init_std": 0.1},
        without=("intermediate_size", "num_key_value_heads", "head_dim", "initializer_range"),
    ),
    Architecture("granite", "granite", "Granite 3", _MULTIPLIERS | {"logits_scaling": 8.0}),
    Architecture(
        "granite-moe", "granitemoe", "Granite 3 MoE", _MULTIPLIERS | _LOCAL_EXPERTS | {"logits_scaling": 6.0},
        balances=True,
    ),
    Architecture(
        "deepseek-v2", "deepseek_v2", "DeepSeek V2", _LATENT | {"topk_method": "group_limited_greedy"},
        without=("head_dim",), vllm=_IN_FLOAT32,
        unread_by_vllm="other log-probs than transformers, of the untrained model too (0.3 nats)",
    ),
    Architecture(
        "deepseek-v3", "deepseek_v3", "DeepSeek V3, DeepSeek R1", _LATENT | {"topk_method": "noaux_tc"},
        without=("head_dim",), vllm=_IN_FLOAT32,
        unread_by_vllm="other log-probs than transformers, of the untrained model too (0.8 nats)",
    ),
    Architecture("smollm3", "smollm3", "SmolLM3"),
    Architecture(
        "qwen2-moe", "qwen2_moe", "Qwen 1.5 MoE, Qwen 2 MoE", _EXPERTS | {"shared_expert_intermediate_size": 64},
        balances=True,
    ),
    Architecture("cohere", "cohere", "Command R", _TIED | {"logit_scale": 0.25}),
    Architecture(
        "mistral-window", "mistral", "Mistral 7B v0.1, and others with a window below `max_tokens`",
        {"sliding_window": 32},
        rejected="MistralForCausalLM cannot be trained here: it has a sliding window of 32 tokens; set max_tokens to "
        "32 or less",
    ),
    Architecture(
        "gemma2", "gemma2", "Gemma 2", _TIED,
        rejected="models whose logits are changed after the head are not supported: config has final_logit_softcapping",
    ),
    Architecture(
        "phi", "phi", "Phi 1.5, Phi 2",
        rejected="output heads other than a plain linear one without bias cannot be trained: this is "
        "Linear(in_features=64, out_features=400, bias=True)",
    ),
    Architecture(
        "gpt-oss", "gpt_oss", "gpt-oss", _LOCAL_EXPERTS,
        rejected="GptOssAttention cannot be trained here: it has attention with s_aux",
    ),
    Architecture(
        "bloom", "bloom", "BLOOM", {"n_layer": 2, "n_head": 2},
        rejected="BloomForCausalLM cannot be trained here: it has attention that is not on transformers' attention "
        "interface",
    ),
    Architecture(
        "falcon", "falcon", "Falcon", _TIED, without=("head_dim", "num_key_value_heads"),
        rejected="FalconForCausalLM cannot be trained here: it has attention that is not on transformers' attention "
        "interface",
    ),
    Architecture(
        "mamba", "mamba", "Mamba",
        rejected="MambaForCausalLM cannot be trained here: it has layers that are not attention over whole sequences "
        "(linear_attention)",
    ),
    Architecture(
        "qwen3-next", "qwen3_next", "Qwen 3 Next", _EXPERTS,
        rejected="Qwen3NextForCausalLM cannot be trained here: it has layers that are not attention over whole "
        "sequences (linear_attention)",
    ),
)  # fmt: skip

TRAINED = tuple(architecture for architecture in ARCHITECTURES if not architecture.rejected)
