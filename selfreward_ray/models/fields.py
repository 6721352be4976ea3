"""Values of a config.json that transformers would refuse, or take for something else."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from selfreward_ray.models.packable import rope_type, rotary_embeddings

_SIZES = (
    "vocab_size", "hidden_size", "n_embd", "num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "head_dim",
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
)  # fmt: skip
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon")
_DIVISORS = ("logits_scaling", "query_pre_attn_scalar")
_FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window", "use_bidirectional_attention")
ACTIVATIONS = frozenset({
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh",
    "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "prelu", "quick_gelu", "relu", "relu2",
    "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "xielu",
})  # fmt: skip
_DTYPES = (
    "bfloat16", "float16", "half", "float32", "float", "float64", "double", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip
ROTARY: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
    **dict.fromkeys(("default", "proportional", "axial", "mrope"), ()),
}
"""Types of rotary embeddings, and the factors that each needs."""
_LONGEST = 60
"""Characters of a value that a message shows."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_Rule = tuple[str, Callable[[Any], bool]]
"""What a field must be, in words and as a test."""
_SIZE: _Rule = ("a whole number above 0", lambda value: _is_whole(value) and value > 0)
_WHOLE: _Rule = ("a whole number", _is_whole)
_POSITIVE: _Rule = ("a number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE: _Rule = ("a number, 0 or more", lambda value: _is_number(value) and value >= 0)
_FLAG: _Rule = ("true or false", lambda value: isinstance(value, bool))
_OBJECT: _Rule = ("an object", lambda value: isinstance(value, dict))
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_SIZES, _SIZE),
    **dict.fromkeys(_EPSILONS, _NOT_NEGATIVE),
    **dict.fromkeys(_DIVISORS, _POSITIVE),
    **dict.fromkeys(_FLAGS, _FLAG),
    **dict.fromkeys(("rope_scaling", "rope_parameters"), _OBJECT),
    **dict.fromkeys(("dtype", "torch_dtype"), ("a type such as bfloat16", lambda value: value in _DTYPES)),
    **dict.fromkeys(
        ("hidden_act", "hidden_activation", "activation_function"),
        ("an activation that transformers has", lambda value: isinstance(value, str) and value in ACTIVATIONS),
    ),
    "sliding_window": _WHOLE,
    "architectures": ("a list of names", _is_list_of_texts),
    "layer_types": ("a list of names", _is_list_of_texts),
    "quantization_config": ("an object that is not empty", lambda value: isinstance(value, dict) and bool(value)),
}


def wrong_fields(config: Mapping[str, Any]) -> Iterator[str]:
    """Each value of `config` that cannot be meant, with the remedy. Null is the default, except for an epsilon."""
    for name, (needed, fits) in _RULES.items():
        if name in config and not fits(config[name]) and (config[name] is not None or name in _EPSILONS):
            yield _wrong(name, config[name], needed)
    layers, count = config.get("layer_types"), config.get("num_hidden_layers")
    if isinstance(layers, list) and _is_whole(count) and len(layers) != count:
        yield _wrong("layer_types", layers, f"a list with one name for each of its {count} layers")
    for rope in rotary_embeddings(config):
        yield from _wrong_rope(rope)


def _wrong_rope(rope: Mapping[str, Any]) -> Iterator[str]:
    kind = rope_type(rope)
    if kind not in ROTARY:
        yield _wrong("rope_type", kind, f"one of {', '.join(ROTARY)}")
    for name in ROTARY.get(kind, ()):
        value = rope.get(name)
        numbers = value if isinstance(value, list) and name in ROTARY["longrope"] else [value]
        if not all(map(_POSITIVE[1], numbers)):
            yield _wrong(name, value, f"above 0 for rotary embeddings of type {kind}")


def _wrong(name: str, value: Any, needed: str) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return f"its config.json has {name} {shown}, and it must be {needed}; copy the file that save_pretrained wrote"
