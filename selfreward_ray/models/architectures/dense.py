"""Families in which every token goes through every weight."""

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

BEFORE = ("input_layernorm", "post_attention_layernorm")
"""Before attention and before the MLP, whatever the names say."""
_AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
_AROUND = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


def _llama(s: Sizes, _: int) -> Shapes:
    return (
        attention(s, s.on("attention_bias"))
        | gated(s, s["intermediate_size"], bias=s.on("mlp_bias"))
        | norms(*BEFORE, size=s.hidden)
    )


def _plain(s: Sizes, _: int) -> Shapes:
    """As Llama, without a bias in the MLP."""
    return attention(s, s.on("attention_bias")) | gated(s, s["intermediate_size"]) | norms(*BEFORE, size=s.hidden)


def _mistral(s: Sizes, _: int) -> Shapes:
    return attention(s) | gated(s, s["intermediate_size"]) | norms(*BEFORE, size=s.hidden)


def _qwen2(s: Sizes, _: int) -> Shapes:
    return attention(s, True, out_bias=False) | gated(s, s["intermediate_size"]) | norms(*BEFORE, size=s.hidden)


def _qwen3(s: Sizes, number: int) -> Shapes:
    return _plain(s, number) | head_norms(s.head)


def _gemma2(s: Sizes, _: int) -> Shapes:
    return attention(s, s.on("attention_bias")) | gated(s, s["intermediate_size"]) | norms(*_AROUND, size=s.hidden)


def _gemma3(s: Sizes, number: int) -> Shapes:
    return _gemma2(s, number) | head_norms(s.head)


def _phi3(s: Sizes, _: int) -> Shapes:
    return (
        linear("self_attn.qkv_proj", (s.heads + 2 * s.kv_heads) * s.head, s.hidden)
        | linear("self_attn.o_proj", s.hidden, s.heads * s.head)
        | linear("mlp.gate_up_proj", 2 * s["intermediate_size"], s.hidden)
        | linear("mlp.down_proj", s.hidden, s["intermediate_size"])
        | norms(*BEFORE, size=s.hidden)
    )


def _phi(s: Sizes, _: int) -> Shapes:
    queries = ("self_attn.q_layernorm", "self_attn.k_layernorm") if s.on("qk_layernorm") else ()
    return (
        attention(s, True, out="dense")
        | linear("mlp.fc1", s["intermediate_size"], s.hidden, True)
        | linear("mlp.fc2", s.hidden, s["intermediate_size"], True)
        | norms("input_layernorm", size=s.hidden, bias=True)
        | norms(*queries, size=s.hidden // s.heads, bias=True)
    )


def _olmo(s: Sizes, _: int) -> Shapes:
    """Its normalizations have no weights."""
    return attention(s, s.on("attention_bias")) | gated(s, s["intermediate_size"])


def _olmo2(s: Sizes, number: int) -> Shapes:
    """Queries and keys are normalized over all heads together."""
    return _olmo(s, number) | norms(*_AFTER, size=s.hidden) | head_norms(s.heads * s.head, s.kv_heads * s.head)


def _gpt2(s: Sizes, _: int) -> Shapes:
    """Its matrices are stored with the inputs first."""
    hidden = s["n_embd"]
    inner = s.get("n_inner", 4 * hidden)

    def into(name: str, size: int, out: int) -> Shapes:
        return {f"{name}.weight": (size, out), f"{name}.bias": (out,)}

    return (
        into("attn.c_attn", hidden, 3 * hidden)
        | into("attn.c_proj", hidden, hidden)
        | into("mlp.c_fc", hidden, inner)
        | into("mlp.c_proj", inner, hidden)
        | norms("ln_1", "ln_2", size=hidden, bias=True)
    )


def _beside_gpt2(s: Sizes) -> Shapes:
    hidden = s["n_embd"]
    tables = {"transformer.wte.weight": (s["vocab_size"], hidden), "transformer.wpe.weight": (s["n_positions"], hidden)}
    return tables | norms("transformer.ln_f", size=hidden, bias=True)


def _gpt_neox(s: Sizes, _: int) -> Shapes:
    inner, bias = s["intermediate_size"], s.on("attention_bias", True)
    return (
        linear("attention.query_key_value", 3 * s.hidden, s.hidden, bias)
        | linear("attention.dense", s.hidden, s.hidden, bias)
        | linear("mlp.dense_h_to_4h", inner, s.hidden, True)
        | linear("mlp.dense_4h_to_h", s.hidden, inner, True)
        | norms(*BEFORE, size=s.hidden, bias=True)
    )


def _beside_gpt_neox(s: Sizes) -> Shapes:
    table = {"gpt_neox.embed_in.weight": (s["vocab_size"], s.hidden)}
    return table | norms("gpt_neox.final_layer_norm", size=s.hidden, bias=True)


def _opt(s: Sizes, _: int) -> Shapes:
    bias = s.on("enable_bias", True)
    return (
        attention(s, bias, out="out_proj")
        | linear("fc1", s["ffn_dim"], s.hidden, bias)
        | linear("fc2", s.hidden, s["ffn_dim"], bias)
        | _norms_of_opt(s, "self_attn_layer_norm", "final_layer_norm")
    )


def _norms_of_opt(s: Sizes, *names: str) -> Shapes:
    return norms(*names, size=s.hidden, bias=True) if s.on("layer_norm_elementwise_affine", True) else {}


def _beside_opt(s: Sizes) -> Shapes:
    """Positions begin at 2; embeddings may be narrower than layers."""
    narrow = s.get("word_embed_proj_dim", s.hidden)
    shapes: Shapes = {
        "model.decoder.embed_tokens.weight": (s["vocab_size"], narrow),
        "model.decoder.embed_positions.weight": (s["max_position_embeddings"] + 2, s.hidden),
    }
    if narrow != s.hidden:
        shapes |= linear("model.decoder.project_in", s.hidden, narrow)
        shapes |= linear("model.decoder.project_out", narrow, s.hidden)
    if s.on("do_layer_norm_before", True) and not s.on("_remove_final_layer_norm"):
        shapes |= _norms_of_opt(s, "model.decoder.final_layer_norm")
    return shapes


_TIED = {"tie_word_embeddings": True}
NO_WINDOW = {"use_sliding_window": False}
"""The default of families whose configurations keep the size of a window that is switched off."""

DENSE: dict[str, Family] = {
    "llama": Family(_llama, beside()),
    "granite": Family(_llama, beside()),
    "mistral": Family(_mistral, beside(), defaults={"sliding_window": 4096}),
    "qwen2": Family(_qwen2, beside(), defaults=NO_WINDOW),
    "qwen3": Family(_qwen3, beside(), defaults=NO_WINDOW | {"head_dim": 128}),
    "gemma": Family(_plain, beside(), defaults=_TIED | {"head_dim": 256}),
    "gemma2": Family(
        _gemma2,
        beside(),
        defaults=_TIED | {"head_dim": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3_text": Family(_gemma3, beside(), defaults=_TIED | {"head_dim": 256, "sliding_window": 4096}),
    "phi3": Family(_phi3, beside()),
    "phi": Family(_phi, beside("final_layernorm", bias=True), head_bias=lambda _: True),
    "olmo": Family(_olmo, beside(has_norm=False)),
    "olmo2": Family(_olmo2, beside()),
    "olmo3": Family(_olmo2, beside(), defaults={"sliding_window": 4096}),
    "gpt2": Family(
        _gpt2,
        _beside_gpt2,
        layers="transformer.h",
        count="n_layer",
        head_size=lambda s: s["n_embd"],
        bare="transformer",
        defaults=_TIED,
    ),
    "gpt_neox": Family(_gpt_neox, _beside_gpt_neox, layers="gpt_neox.layers", head="embed_out"),
    "opt": Family(
        _opt,
        _beside_opt,
        layers="model.decoder.layers",
        head_size=lambda s: s.get("word_embed_proj_dim", s.hidden),
        bare="model",
        defaults=_TIED,
    ),
}
