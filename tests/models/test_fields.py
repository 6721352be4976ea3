"""Values of a config.json that transformers refuses or takes for something else."""

from typing import Any

import pytest
from model_files import LLAMA
from transformers.activations import ACT2CLS
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from selfreward_ray.models.fields import ACTIVATIONS, ROTARY, wrong_fields

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_position_embeddings": "2048"}, 'max_position_embeddings "2048", and it must be a whole number above 0'),
    ({"max_position_embeddings": 2048.0}, "max_position_embeddings 2048.0, and it must be a whole number above 0"),
    ({"max_position_embeddings": 0}, "max_position_embeddings 0, and it must be a whole number above 0"),
    ({"head_dim": True}, "head_dim true, and it must be a whole number above 0"),
    ({"tie_word_embeddings": "false"}, 'tie_word_embeddings "false", and it must be true or false'),
    ({"rms_norm_eps": None}, "rms_norm_eps null, and it must be a number, 0 or more"),
    ({"rms_norm_eps": "1e-6"}, 'rms_norm_eps "1e-6", and it must be a number, 0 or more'),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps NaN, and it must be a number, 0 or more"),
    ({"logits_scaling": 0}, "logits_scaling 0, and it must be a number above 0"),
    ({"hidden_act": "swiglu9"}, 'hidden_act "swiglu9", and it must be an activation that transformers has'),
    ({"dtype": "float13"}, 'dtype "float13", and it must be a type such as bfloat16'),
    ({"layer_types": "full_attention"}, 'layer_types "full_attention", and it must be a list of names'),
    (
        {"layer_types": ["full_attention"]},
        'layer_types ["full_attention"], and it must be a list with one name for each',
    ),
    ({"sliding_window": "256"}, 'sliding_window "256", and it must be a whole number'),
    ({"architectures": 5}, "architectures 5, and it must be a list of names"),
    ({"architectures": "LlamaForCausalLM"}, 'architectures "LlamaForCausalLM", and it must be a list of names'),
    ({"quantization_config": {}}, "quantization_config {}, and it must be an object that is not empty"),
    ({"quantization_config": [1]}, "quantization_config [1], and it must be an object that is not empty"),
    ({"rope_scaling": "linear"}, 'rope_scaling "linear", and it must be an object'),
    ({"rope_parameters": {"rope_type": "foo"}}, 'rope_type "foo", and it must be one of linear, dynamic, yarn, llama3'),
    (
        {"rope_parameters": {"rope_type": "linear", "factor": "two"}},
        'factor "two", and it must be above 0 for rotary emb',
    ),
    ({"rope_scaling": {"type": "yarn"}}, "factor null, and it must be above 0 for rotary embeddings of type yarn"),
    (
        {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}},
        "high_freq_factor null, and it must be above 0 for rotary embeddings of type llama3",
    ),
    (
        {"rope_scaling": {"type": "su", "short_factor": [1.0, "2"], "long_factor": [1.0, 2.0]}},
        'short_factor [1.0, "2"], and it must be above 0 for rotary embeddings of type longrope',
    ),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named_with_the_remedy(changes: dict[str, Any], said: str):
    (problem,) = wrong_fields(LLAMA | changes)
    assert problem.startswith(f"its config.json has {said}")
    assert problem.endswith("; copy the file that save_pretrained wrote")


def test_a_long_value_is_cut():
    (problem,) = wrong_fields(LLAMA | {"layer_types": ["full_attention"] * 99})
    assert len(problem) < 250


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": None, "sliding_window": None, "rope_scaling": None, "quantization_config": None, "dtype": None},
        {"rms_norm_eps": 0, "dtype": "bfloat16", "sliding_window": -1, "architectures": None, "hidden_act": "gelu_new"},
        {"rope_parameters": {"full_attention": {"rope_type": "default"}, "other": None}},
        {"layer_types": ["full_attention"] * 2, "logits_scaling": 8},
    ],
)
def test_what_may_be_left_out_is_no_problem(changes: dict[str, Any]):
    assert list(wrong_fields(LLAMA | changes)) == []


def test_the_names_are_those_of_transformers():
    assert ACT2CLS.keys() == ACTIVATIONS
    assert ROPE_INIT_FUNCTIONS.keys() <= ROTARY.keys()
