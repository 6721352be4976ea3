"""Kinds of models that cannot take part, told from the configuration alone."""

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
    named = [str(name) for name in config.get("architectures") or ()]
    if any(config.get(key) for key in _MODALITIES):
        return (
            f"it is a model of images or sound (model_type {kind!r}), and only text models are trained and asked here; "
            "name a text model, or save its language model alone as one"
        )
    if config.get("is_encoder_decoder"):
        return f"it is an encoder with a decoder (model_type {kind!r}); name a decoder-only model"
    if kind in _ENCODERS and not config.get("is_decoder"):
        return f"it is an encoder (model_type {kind!r}), which generates nothing; name a decoder-only model"
    if config.get("auto_map") and not _is_known(kind):
        return f"it needs code of its own (model_type {kind!r}), which is not run here; name one that transformers has"
    if named and not any(name.endswith(_GENERATING) for name in named):
        return f"it is a {named[0]}, which has no output head that generates; name the ForCausalLM model of its kind"
    return None


def _is_known(kind: str) -> bool:
    """Whether transformers has models of this type; True if that cannot be told without importing it."""
    found = find_spec("transformers")
    for place in (found and found.submodule_search_locations) or ():
        types = Path(place) / "models" / "auto" / "auto_mappings.py"
        if types.is_file():
            return f'("{kind}", ' in types.read_text(encoding="utf-8")
    return True


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
    if kind not in _UNTRAINED[_RECURRENT]:
        yield from obstacles(config, max_tokens)
    if config.get("final_logit_softcapping") is not None:
        yield "a soft cap on its logits (final_logit_softcapping)"
    if config.get("lm_head_bias"):
        yield "an output head with a bias"
