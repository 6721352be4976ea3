"""What a configuration says of attention: training packs sequences, and each token sees all earlier ones of its own.

Configurations are given as mappings: a config.json, or all values of transformers' configuration of it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Configuration = Mapping[str, Any]

_NAMES_OF_GPT2 = ("hidden_size", "n_embd"), ("num_attention_heads", "n_head")


def obstacles(config: Configuration, max_tokens: int) -> Iterator[str]:
    """What keeps a model from being trained on packed sequences of up to `max_tokens`, each with its remedy if it has
    one."""
    others = set(config.get("layer_types") or ()) - {"full_attention", "sliding_attention"}
    if others:
        yield f"layers that are not attention over whole sequences ({', '.join(sorted(others))})"
    if config.get("attn_logit_softcapping") is not None:
        yield "a soft cap on its attention (attn_logit_softcapping)"
    if config.get("use_bidirectional_attention"):
        yield "attention to later tokens (use_bidirectional_attention)"
    window = sliding_window(config)
    if window is not None and window < max_tokens:
        yield f"a sliding window of {window} tokens; set max_tokens to {window} or less"
    reach = uniform_positions(config)
    if reach is not None and reach < max_tokens:
        yield f"positions that depend on the longest sequence of a batch; set max_tokens to {reach} or less"


def sliding_window(config: Configuration) -> int | None:
    """The number of tokens that some layer sees at most; None if all layers see whole sequences.

    Configurations keep a window that is switched off: by a size of 0, by `use_sliding_window`, or if no layer has it.
    """
    window = config.get("sliding_window")
    if not isinstance(window, int) or window <= 0 or config.get("use_sliding_window") is False:
        return None
    layers = config.get("layer_types") or ["sliding_attention"] * _windowed(config)
    return window if "sliding_attention" in layers else None


def _windowed(config: Configuration) -> int:
    """How many layers have the window where a configuration does not list them; 1 stands for some or all."""
    if config.get("model_type") not in ("qwen2", "qwen3"):
        return 1
    return max(0, int(config.get("num_hidden_layers") or 1) - int(config.get("max_window_layers", 0)))


def uniform_positions(config: Configuration) -> int | None:
    """Up to how many tokens a sequence's positions do not depend on how long it is; None if they never do."""
    reaches = [_reach(rope, config) for rope in rotary_embeddings(config)]
    return min((reach for reach in reaches if reach is not None), default=None)


def _reach(rope: Configuration, config: Configuration) -> int | None:
    if rope_type(rope) not in ("dynamic", "longrope"):
        return None
    before, most = "original_max_position_embeddings", "max_position_embeddings"
    return next(
        (int(where[key]) for where, key in ((rope, before), (config, before), (config, most)) if where.get(key)), 0
    )


def rotary_embeddings(config: Configuration) -> Iterator[Configuration]:
    """The parameters of rotary embeddings: one mapping, or one for each type of layers."""
    for key in ("rope_parameters", "rope_scaling"):
        parameters = config.get(key)
        if isinstance(parameters, Mapping):
            nested = [each for each in parameters.values() if isinstance(each, Mapping)]
            yield from nested or [parameters]


def rope_type(rope: Configuration) -> str:
    """The type of a rotary embedding by its name of today: earlier files have the key ``type``, and ``su``."""
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    return "longrope" if kind == "su" else kind


def head_size(config: Configuration) -> int | None:
    """The number of values of an attention head; None if heads have two sizes, or the configuration does not tell."""
    if config.get("kv_lora_rank"):
        return None
    if config.get("head_dim"):
        return int(config["head_dim"])
    hidden, heads = (config.get(ours) or config.get(gpt2) for ours, gpt2 in _NAMES_OF_GPT2)
    return int(hidden) // int(heads) if hidden and heads else None
