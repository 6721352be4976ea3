from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MambaConfig, OPTConfig

from selfreward_ray.errors import UserError
from selfreward_ray.training.dropout import set_dropout

LLAMA = LlamaConfig(
    vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
)
GPT2 = GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)
OPT = OPTConfig(vocab_size=20, hidden_size=8, word_embed_proj_dim=8, ffn_dim=8, num_hidden_layers=1, dropout=0.0)
OPT.num_attention_heads = 2


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9)[None]).logits


@pytest.mark.parametrize("config", [LLAMA, GPT2, OPT], ids=lambda config: config.model_type)
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_rate_is_in_training_passes_alone(config: Any, rate: float):
    """GPT-2's own configuration has 0.1: a rate of 0 takes that away."""
    config = type(config).from_dict(config.to_dict())
    set_dropout(config, rate)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.train()
    assert torch.equal(logits(model), logits(model)) == (rate == 0)
    model.eval()
    assert torch.equal(logits(model), logits(model))


def test_none_leaves_the_models_own_rates():
    config = GPT2Config(resid_pdrop=0.2)
    set_dropout(config, None)
    assert (config.resid_pdrop, config.attn_pdrop) == (0.2, 0.1)


def test_what_has_no_dropout_takes_no_rate_but_zero():
    set_dropout(MambaConfig(), 0.0)
    with pytest.raises(UserError, match=r"training.dropout is 0.1, but models of type 'mamba' have no dropout"):
        set_dropout(MambaConfig(), 0.1)
