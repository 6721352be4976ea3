"""Dropout by what models do, and Liger's kernels by a stand-in: these run on GPUs alone (`make bench-gpu`)."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers.integrations.liger
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MambaConfig, OPTConfig

from selfreward_ray.errors import UserError
from selfreward_ray.training.architecture import set_dropout, use_liger_kernels

LLAMA = LlamaConfig(
    vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
)
GPT2 = GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)
OPT = OPTConfig(vocab_size=20, hidden_size=8, word_embed_proj_dim=8, ffn_dim=8, num_hidden_layers=1, dropout=0.0)
OPT.num_attention_heads = 2
LLAMA_MODEL = SimpleNamespace(config=SimpleNamespace(model_type="llama"))


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of transformers' function that puts Liger's kernels into a model; Liger itself knows Llamas alone."""
    calls: list[Any] = []
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    knows = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": None})
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", knows)
    monkeypatch.setattr(
        transformers.integrations.liger, "apply_liger_kernel", lambda model, kernels: calls.append((model, kernels))
    )
    return calls


def test_layers_are_replaced_and_the_head_is_not(asked: list[Any]):
    use_liger_kernels(LLAMA_MODEL)
    ((model, kernels),) = asked
    assert model is LLAMA_MODEL
    assert {name for name, wanted in kernels.items() if wanted} == {"rms_norm", "rope", "swiglu", "geglu"}
    assert {name for name, wanted in kernels.items() if not wanted} == {"cross_entropy", "fused_linear_cross_entropy"}


def test_an_unknown_architecture_is_refused(asked: list[Any]):
    with pytest.raises(UserError, match=r"no kernels for models of type 'mamba'; set training.liger_kernels to false"):
        use_liger_kernels(SimpleNamespace(config=SimpleNamespace(model_type="mamba")))
    assert not asked


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(
        UserError, match="needs the package liger-kernel on every worker; it comes with the extra `gpu`"
    ):
        use_liger_kernels(LLAMA_MODEL)
