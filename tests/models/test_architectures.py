"""The tensors of each architecture are those that transformers writes, for every part that a configuration turns on."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.parts import UnknownSize, shapes_of
from selfreward_ray.models.headers import folder_headers
from selfreward_ray.models.kinds import _UNTRAINED, untrainable
from selfreward_ray.store.folder import Folder

# Sizes that no two of are equal, as far as the architecture allows it.
SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TIED, BIASES = {"tie_word_embeddings": True}, {"attention_bias": True, "mlp_bias": True}
HEADS = {"head_dim": 6}
QWEN_EXPERTS = {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 12}
LATENT = {
    "moe_intermediate_size": 8, "n_routed_experts": 4, "n_shared_experts": 2, "first_k_dense_replace": 1,
    "q_lora_rank": 5, "kv_lora_rank": 8, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 10,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
}  # fmt: skip
NO_QUERY_RANK = {"q_lora_rank": None, "n_shared_experts": 1, "first_k_dense_replace": 2}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
OPT = {"ffn_dim": 24, "word_embed_proj_dim": 16, "num_key_value_heads": None}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "llama": [{}, TIED | BIASES | HEADS, {"num_key_value_heads": None}],
    "mistral": [{}, TIED | HEADS],
    "qwen2": [{}, TIED],
    "qwen2_moe": [
        QWEN_EXPERTS | {"mlp_only_layers": [1]}, QWEN_EXPERTS | {"decoder_sparse_step": 2, "qkv_bias": False},
    ],
    "qwen3": [HEADS, TIED | BIASES | HEADS],
    "qwen3_moe": [QWEN_EXPERTS | HEADS | {"mlp_only_layers": [1]}, QWEN_EXPERTS | BIASES | {"decoder_sparse_step": 2}],
    "gemma": [HEADS, HEADS | BIASES | {"tie_word_embeddings": False}],
    "gemma2": [HEADS, BIASES],
    "gemma3_text": [HEADS, HEADS | BIASES | {"tie_word_embeddings": False}],
    "phi3": [{}, TIED],
    "phi": [{}, {"qk_layernorm": True}],
    "phimoe": [{"num_local_experts": 4}, {"num_local_experts": 3, "attention_bias": True, "lm_head_bias": True}],
    "mixtral": [{"num_local_experts": 2}, {"num_local_experts": 3} | TIED | HEADS],
    "olmo": [{}, TIED | BIASES],
    "olmo2": [{}, TIED | BIASES],
    "olmo3": [{}, BIASES],
    "olmoe": [{"num_experts": 4}, {"num_experts": 3} | BIASES],
    "gpt2": [GPT2, GPT2 | {"n_inner": 20, "tie_word_embeddings": False}],
    "gpt_neox": [{}, TIED | {"attention_bias": False}],
    "opt": [
        OPT,
        OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False, "enable_bias": False},
        OPT | {"layer_norm_elementwise_affine": False, "tie_word_embeddings": False},
        OPT | {"_remove_final_layer_norm": True},
    ],
    "granite": [{}, TIED | BIASES],
    "granitemoe": [{"num_local_experts": 4}, {"num_local_experts": 3} | BIASES],
    "deepseek_v2": [LATENT, LATENT | NO_QUERY_RANK | BIASES],
    "deepseek_v3": [LATENT, LATENT | NO_QUERY_RANK | BIASES],
}  # fmt: skip
CASES = [(kind, number) for kind, variants in VARIANTS.items() for number in range(len(variants))]


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_the_tensors_of_an_architecture_are_those_that_transformers_writes(kind: str, number: int, tmp_path: Path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **(SIZES | VARIANTS[kind][number]))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    headers = folder_headers(Folder(str(tmp_path)))
    assert headers.faults == ()
    assert shapes_of(FAMILIES[kind], written) == headers.shapes


def test_every_family_is_compared():
    assert VARIANTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if kind not in ("gpt2", "opt", "phi", "gpt_neox")])
def test_what_a_configuration_leaves_out_is_as_transformers_has_it(kind: str):
    """Files of earlier years leave out what was usual then. Of sizes, only those of heads have a usual value."""
    from transformers import AutoConfig

    told = {key: value for key, value in (SIZES | VARIANTS[kind][0]).items() if key != "head_dim"}
    full = AutoConfig.for_model(kind, **told).to_dict()
    assert shapes_of(FAMILIES[kind], told) == shapes_of(FAMILIES[kind], full)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": None}, "its config.json has no hidden_size"),
        ({"vocab_size": "many"}, "its config.json has vocab_size 'many'"),
        ({"intermediate_size": 0}, "its config.json has intermediate_size 0"),
        ({"num_hidden_layers": True}, "its config.json has num_hidden_layers True"),
    ],
)
def test_a_size_that_is_not_told_is_named(changes: dict[str, Any], said: str):
    with pytest.raises(UnknownSize, match=said):
        shapes_of(FAMILIES["llama"], SIZES | changes)


def test_what_is_said_of_architectures_that_are_not_trained_is_what_their_models_say():
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    recurrent, apart, *_ = _UNTRAINED.values()
    for kind in recurrent:
        assert getattr(transformers, NAMES[kind])._is_stateful, kind
    for kind in apart:
        model = getattr(transformers, NAMES[kind])
        assert not model._supports_attention_backend, kind
        assert not model._is_stateful, kind


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_the_named_families_are_on_the_interface_that_training_needs(kind: str):
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    model = getattr(transformers, NAMES[kind])
    assert model._supports_attention_backend
    assert not model._is_stateful
    trained = not list(untrainable(FAMILIES[kind].defaults | {"model_type": kind}, 1))
    assert trained == (kind not in ("phi", "gemma2"))
