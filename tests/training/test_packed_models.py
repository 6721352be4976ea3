"""Models whose configurations have windows or positions of several kinds: packed, they say what plain ones say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.packing import pack
from selfreward_ray.training.policy import Policy, by_sequence

PACKED = pack((
    SftTokens("s", (1, 2), (3, 4, 5)),
    PairTokens("p", tuple(range(6, 12)), (9, 10), tuple(range(11, 25))),
    SftTokens("t", (1, 2, 3), (4, 9)),
    SftTokens("u", (*range(6, 12), *range(11, 20)), (3, 1)),
))  # fmt: skip
LONGEST = 20
SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "initializer_range": 0.3,
}  # fmt: skip
WINDOW_OFF: dict[str, Callable[[], Any]] = {
    "as long as any sequence": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=LONGEST)),
    "null": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    "zero, as every Qwen 2 MoE has it": lambda: Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **SIZES, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8, shared_expert_intermediate_size=8
        )
    ),
    "switched off": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, sliding_window=2, use_sliding_window=False)),
    "of no layer": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SIZES, sliding_window=2, use_sliding_window=True, max_window_layers=2)
    ),
}


@pytest.mark.parametrize("name", WINDOW_OFF)
def test_a_window_that_is_switched_off_is_none(name: str):
    check_packing(WINDOW_OFF[name]())


ROPES: dict[str, dict[str, Any]] = {
    "by type of layers": {"rope_theta": 100.0, "rope_local_base_freq": 10.0},
    "scaled in one type of layers": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "YaRN in one type of layers": {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {
                "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 8,
            },
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROPES)
def test_each_type_of_layers_has_its_own_positions(name: str):
    layers = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(
        **SIZES, sliding_window=LONGEST, layer_types=layers, max_position_embeddings=32, **ROPES[name]
    )
    check_packing(Gemma3ForCausalLM(config))


def check_packing(model: Any) -> None:
    """The log-probs of packed sequences are those of each alone in plain transformers."""
    model = model.eval()
    alone = {}
    for sequence in PACKED.sequences:
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
        places = torch.arange(len(sequence.prompt_ids), ids.shape[1])
        alone[sequence.id] = logprobs[places - 1, ids[0, places]]
    policy = Policy(model, max_tokens=LONGEST)
    with torch.no_grad():
        packed = by_sequence(PACKED, policy(PACKED))
    for name, logprobs in alone.items():
        torch.testing.assert_close(packed[name], logprobs, atol=2e-5, rtol=0)
