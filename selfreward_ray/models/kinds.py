"""Kinds of models that cannot take part, told from the configuration alone."""

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfreward_ray.models.packable import obstacles

_MODALITIES = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower", "speech_config")
_ENCODERS = frozenset({
    "albert", "bert", "big_bird", "camembert", "clip", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
    "esm", "layoutlm", "longformer", "modernbert", "mpnet", "nomic_bert", "roberta", "siglip", "vit", "wav2vec2",
    "xlm-roberta", "xlm-roberta-xl",
})  # fmt: skip
_GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_QUANTIZERS = ("quantize_config.json", "quant_config.json", "quantization_config.json", "hf_quant_config.json")
"""Files in which programs that quantize models describe what they did."""
_FLOATS = ("F64", "F32", "F16", "BF16")
_RECURRENT = "layers that are not attention over whole sequences (recurrent)"
_UNTRAINED = {
    _RECURRENT: (
        "bamba", "deepseek_v4", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear", "mamba",
        "mamba2", "nemotron_h", "olmo_hybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "qwen4_exp_text",
        "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2", "zaya",
    ),
    "attention that is not on transformers' attention interface": (
        "biogpt", "bloom", "blt", "codegen", "cpmant", "falcon", "gpt_neo", "gpt_neox_japanese", "gptj", "mpt",
        "openai-gpt", "reformer", "stablelm", "xglm", "xlm", "xlnet",
    ),
    "attention sinks": ("gpt_oss",),
    "an output head with a bias": ("phi",),
}  # fmt: skip
"""Why architectures are not trained, whatever their sizes: a reason, and the `model_type`s."""


def no_language_model(config: Mapping[str, Any]) -> str | None:
    """Why a model cannot continue a text by itself, with the remedy; None if it can, or nothing tells."""
    kind = str(config.get("model_type"))
    listed = config.get("architectures")
    named = [str(name) for name in listed] if isinstance(listed, list) else []
    if any(config.get(key) for key in _MODALITIES):
        return (
            f"it is a model of images or sound (model_type {kind!r}), and only text models are trained and asked here; "
            "name a text model, or save its language model alone as one"
        )
    if config.get("is_encoder_decoder"):
        return f"it is an encoder with a decoder (model_type {kind!r}); name a decoder-only model"
    if kind in _ENCODERS and not config.get("is_decoder"):
        return f"it is an encoder (model_type {kind!r}), which generates nothing; name a decoder-only model"
    if config.get("auto_map") and kind not in (_known_types() or {kind}):
        return f"it needs code of its own (model_type {kind!r}), which is not run here; name one that transformers has"
    if named and not any(name.endswith(_GENERATING) for name in named):
        return f"it is a {named[0]}, which has no output head that generates; name the ForCausalLM model of its kind"
    return None


def unknown_type(config: Mapping[str, Any]) -> str | None:
    """Why transformers has no model of this type, with the remedy; None if it has one."""
    kind, known = config["model_type"], _known_types()
    if not known or kind in known:
        return None
    near = difflib.get_close_matches(kind.lower(), sorted(known), n=1)
    return (
        f"its config.json has model_type {kind!r}, which transformers does not know"
        f"{f' (did you mean {near[0]}?)' if near else ''}; correct it, or name a model of another family"
    )


def own_tokenizer(settings: Mapping[str, Any]) -> str | None:
    """Why a tokenizer with these `settings` needs code of its own, with the remedy; None if it needs none."""
    name, known = settings.get("tokenizer_class"), _source("tokenization_auto.py")
    if (
        not settings.get("auto_map")
        or not isinstance(name, str)
        or not known
        or f'"{name.removesuffix("Fast")}' in known
    ):
        return None
    return (
        f"its tokenizer needs code of its own (tokenizer_class {name!r}), which is not run here; remove auto_map from "
        "its tokenizer_config.json if its tokenizer.json is enough, or name another model"
    )


def _known_types() -> frozenset[str]:
    """The types of models that transformers has; none if that cannot be told without importing it."""
    return frozenset(re.findall(r'\("([^"]+)", ', _source("auto_mappings.py")))


def _source(name: str) -> str:
    """A file of transformers' that maps names to classes; empty if there is no such file."""
    found = find_spec("transformers")
    for place in (found and found.submodule_search_locations) or ():
        file = Path(place) / "models" / "auto" / name
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""


def quantized(config: Mapping[str, Any], names: frozenset[str], types: Mapping[str, str]) -> str | None:
    """How a model is quantized; None if its weights are floating-point numbers of 16 bits or more.

    `names` are those of its files, `types` those of its tensors, as safetensors names them.
    """
    settings = config.get("quantization_config") or config.get("compression_config")
    if isinstance(settings, Mapping):
        return str(settings.get("quant_method") or "by its config.json")
    if files := sorted(names.intersection(_QUANTIZERS)):
        return f"by {files[0]}"
    packed = [name for name, kind in sorted(types.items()) if kind not in _FLOATS and name.endswith("weight")]
    return f"{packed[0]} has the type {types[packed[0]]}" if packed else None


def untrainable(config: Mapping[str, Any], max_tokens: int) -> Iterator[str]:
    """What keeps a model from being trained on sequences of up to `max_tokens`, as training itself says it."""
    kind = config.get("model_type")
    yield from (reason for reason, kinds in _UNTRAINED.items() if kind in kinds)
    attending, count = config.get("full_attn_idxs"), config.get("num_hidden_layers", 0)
    if isinstance(attending, list) and len(attending) < count and not config.get("layer_types"):
        yield "layers that are not attention over whole sequences (those beside full_attn_idxs)"
    if kind not in _UNTRAINED[_RECURRENT]:
        yield from obstacles(config, max_tokens)
    if config.get("final_logit_softcapping") is not None:
        yield "a soft cap on its logits (final_logit_softcapping)"
    if config.get("lm_head_bias"):
        yield "an output head with a bias"
