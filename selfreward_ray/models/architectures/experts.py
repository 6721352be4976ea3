"""Families with a mixture of experts: a router sends each token through some of the experts of a layer."""

from selfreward_ray.models.architectures.dense import BEFORE, NO_WINDOW
from selfreward_ray.models.architectures.parts import (
    Family,
    Sizes,
    attention,
    beside,
    gated,
    head_norms,
    linear,
    norms,
)
from selfreward_ray.models.fit import Shapes


def _experts(s: Sizes, count: int, inner: int) -> Shapes:
    """The experts and the router of Qwen's and DeepSeek's layers."""
    shapes = linear("mlp.gate", count, s.hidden)
    for number in range(count):
        shapes |= gated(s, inner, f"mlp.experts.{number}")
    return shapes


def _mixtral_experts(s: Sizes) -> Shapes:
    count, inner, name = s["num_local_experts"], s["intermediate_size"], "block_sparse_moe"
    shapes = linear(f"{name}.gate", count, s.hidden)
    for number in range(count):
        shapes |= linear(f"{name}.experts.{number}.w1", inner, s.hidden)
        shapes |= linear(f"{name}.experts.{number}.w2", s.hidden, inner)
        shapes |= linear(f"{name}.experts.{number}.w3", inner, s.hidden)
    return shapes


def _mixtral(s: Sizes, _: int) -> Shapes:
    return attention(s) | _mixtral_experts(s) | norms(*BEFORE, size=s.hidden)


def _phimoe(s: Sizes, _: int) -> Shapes:
    return attention(s, s.on("attention_bias")) | _mixtral_experts(s) | norms(*BEFORE, size=s.hidden, bias=True)


def _qwen_mlp(s: Sizes, number: int, shared: bool) -> Shapes:
    """Experts in each layer of `decoder_sparse_step`, but not in those that are listed."""
    sparse = number not in s.listed("mlp_only_layers") and (number + 1) % s.get("decoder_sparse_step", 1) == 0
    if not sparse:
        return gated(s, s["intermediate_size"])
    shapes = _experts(s, s["num_experts"], s["moe_intermediate_size"])
    if shared:
        shapes |= gated(s, s["shared_expert_intermediate_size"], "mlp.shared_expert")
        shapes |= linear("mlp.shared_expert_gate", 1, s.hidden)
    return shapes


def _qwen2_moe(s: Sizes, number: int) -> Shapes:
    attending = attention(s, s.on("qkv_bias", True), out_bias=False)
    return attending | _qwen_mlp(s, number, shared=True) | norms(*BEFORE, size=s.hidden)


def _qwen3_moe(s: Sizes, number: int) -> Shapes:
    attending = attention(s, s.on("attention_bias")) | head_norms(s.head)
    return attending | _qwen_mlp(s, number, shared=False) | norms(*BEFORE, size=s.hidden)


def _olmoe(s: Sizes, _: int) -> Shapes:
    attending = attention(s, s.on("attention_bias")) | head_norms(s.heads * s.head, s.kv_heads * s.head)
    return attending | _experts(s, s["num_experts"], s["intermediate_size"]) | norms(*BEFORE, size=s.hidden)


def _granitemoe(s: Sizes, _: int) -> Shapes:
    """All experts of a layer stand in one tensor."""
    count, inner, name = s["num_local_experts"], s["intermediate_size"], "block_sparse_moe"
    return (
        attention(s, s.on("attention_bias"))
        | linear(f"{name}.router.layer", count, s.hidden)
        | {f"{name}.input_linear.weight": (count, 2 * inner, s.hidden)}
        | {f"{name}.output_linear.weight": (count, s.hidden, inner)}
        | norms(*BEFORE, size=s.hidden)
    )


def _latent_attention(s: Sizes) -> Shapes:
    """DeepSeek's: keys and values, and queries if they have a rank, go through few values."""
    bias, rank, rope = s.on("attention_bias"), s["kv_lora_rank"], s["qk_rope_head_dim"]
    still, value = s["qk_nope_head_dim"], s["v_head_dim"]
    name, queries = "self_attn", s.heads * (still + rope)
    shapes = (
        linear(f"{name}.kv_a_proj_with_mqa", rank + rope, s.hidden, bias)
        | norms(f"{name}.kv_a_layernorm", size=rank)
        | linear(f"{name}.kv_b_proj", s.heads * (still + value), rank)
        | linear(f"{name}.o_proj", s.hidden, s.heads * value, bias)
    )
    if not s.on("q_lora_rank"):
        return shapes | linear(f"{name}.q_proj", queries, s.hidden)
    query_rank = s["q_lora_rank"]
    return (
        shapes
        | linear(f"{name}.q_a_proj", query_rank, s.hidden, bias)
        | norms(f"{name}.q_a_layernorm", size=query_rank)
        | linear(f"{name}.q_b_proj", queries, query_rank)
    )


def _deepseek(s: Sizes, number: int, bias: bool, corrected: bool) -> Shapes:
    shapes = _latent_attention(s) | norms(*BEFORE, size=s.hidden)
    if number < s.get("first_k_dense_replace", 0):
        return shapes | gated(s, s["intermediate_size"], bias=bias)
    count, inner = s["n_routed_experts"], s["moe_intermediate_size"]
    shapes |= _experts(s, count, inner) | gated(s, inner * s["n_shared_experts"], "mlp.shared_experts", bias)
    return shapes | ({"mlp.gate.e_score_correction_bias": (count,)} if corrected else {})


def _deepseek_v2(s: Sizes, number: int) -> Shapes:
    return _deepseek(s, number, bias=s.on("mlp_bias"), corrected=False)


def _deepseek_v3(s: Sizes, number: int) -> Shapes:
    return _deepseek(s, number, bias=False, corrected=True)


EXPERTS: dict[str, Family] = {
    "mixtral": Family(_mixtral, beside()),
    "phimoe": Family(_phimoe, beside(bias=True), head_bias=lambda s: s.on("lm_head_bias")),
    "qwen2_moe": Family(_qwen2_moe, beside(), defaults=NO_WINDOW),
    "qwen3_moe": Family(_qwen3_moe, beside(), defaults=NO_WINDOW),
    "olmoe": Family(_olmoe, beside()),
    "granitemoe": Family(_granitemoe, beside()),
    "deepseek_v2": Family(_deepseek_v2, beside()),
    "deepseek_v3": Family(_deepseek_v3, beside(), extra_layers=True),
}
