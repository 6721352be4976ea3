"""Adapters merged into plain weights, without ZeRO; with it in `test_zero3`."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig, PhimoeConfig

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.training import Lora
from selfreward_ray.training.lora import add_adapter, saved_weights

LLAMA = LlamaConfig(
    vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0
)
# Its linear layers keep their weights transposed, and its head is tied to its embeddings.
GPT2 = GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2)
_MIXTURE = {
    "vocab_size": 20, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_local_experts": 4, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
MIXTRAL = MixtralConfig(**_MIXTURE)
PHIMOE = PhimoeConfig(**_MIXTURE)  # its routers are linear layers too


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9)[None]).logits


@pytest.mark.parametrize(
    ("config", "targets", "adapted"),
    [
        (LLAMA, (), 14),
        (LLAMA, ("q_proj", "v_proj"), 4),
        (GPT2, (), 8),
        (MIXTRAL, (), 12),
        (MIXTRAL, ("experts.down_proj", "o_proj"), 4),
        (MIXTRAL, ("gate_up_proj",), 2),
        (PHIMOE, (), 12),
    ],
)
def test_merged_weights_say_what_the_model_with_its_adapter_says(config: Any, targets: tuple[str, ...], adapted: int):
    """Llama has seven linear layers a block, GPT-2 four; the mixtures have four, and two tensors of experts."""
    model = model_of(config)
    untouched = logits(model)
    add_adapter(model, Lora(rank=3, alpha=6, targets=targets))
    assert torch.equal(logits(model), untouched)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * adapted
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.3)
    merged = {name: weight.value() for name, weight in saved_weights(model).items()}
    plain = model_of(config)
    assert merged.keys() == dict(plain.named_parameters()).keys()
    plain.load_state_dict(merged, strict=False)
    assert (logits(model) - untouched).abs().max() > 0.1
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-5, rtol=0)


def test_the_product_is_added_in_float32_and_rounded_once():
    """1 + 2⁻⁸ + 2⁻¹⁷ is nearer to 1 + 2⁻⁷ than to 1. The sum of the last two in bfloat16 is 2⁻⁸: 1 would stay 1."""
    model = model_of(LLAMA).to(torch.bfloat16)
    add_adapter(model, Lora(rank=2, alpha=2, targets=("q_proj",)))
    layer = model.model.layers[0].self_attn.q_proj
    torch.nn.init.ones_(layer.base_layer.weight)
    torch.nn.init.ones_(layer.lora_A["default"].weight)
    layer.lora_B["default"].weight.data.copy_(torch.tensor([2**-8, 2**-17]).expand(8, 2))
    merged = saved_weights(model)["model.layers.0.self_attn.q_proj.weight"].value()
    assert merged.dtype == torch.bfloat16
    assert merged.unique().tolist() == [1 + 2**-7]


@pytest.mark.parametrize(
    ("config", "target", "message"),
    [
        (LLAMA, "c_attn", "c_attn is not found in the model"),
        (LLAMA, "embed_tokens", "only linear layers and experts can be trained"),
        (GPT2, "lm_head", "not the output head"),
        (LLAMA, "lm_head", "not the output head"),
        (MIXTRAL, "mlp.gate", "only linear layers and experts can be trained"),
        (PHIMOE, "router", "only linear layers and experts can be trained"),
    ],
)
def test_targets_that_could_not_be_merged_are_refused(config: Any, target: str, message: str):
    with pytest.raises(UserError, match=rf"training.lora.targets \['{target}'\].*{message}"):
        add_adapter(model_of(config), Lora(rank=2, targets=(target,)))
