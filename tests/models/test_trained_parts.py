"""What is known of a model's layers and its router by its configuration is what the model in memory has."""

from typing import Any

import pytest
from test_architectures import CASES, SIZES, VARIANTS

from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.dense import DENSE
from selfreward_ray.models.trained_parts import _modules, refused_settings
from selfreward_ray.recipe.training import Training


def config_of(kind: str, number: int = 0, **more: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **(SIZES | VARIANTS[kind][number] | more))


def said(config: dict[str, Any], **training: Any) -> list[str]:
    return [str(error) for error in refused_settings(config, Training.model_validate(training))]


@pytest.mark.parametrize(("kind", "number"), [case for case in CASES if case[0] in DENSE])
def test_the_layers_for_adapters_are_those_of_the_model_in_memory(kind: str, number: int):
    import torch
    from transformers import AutoModelForCausalLM

    from selfreward_ray.training.lora import _targets

    config = config_of(kind, number)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear, experts = _targets(model, ())
    layers, modules = _modules(FAMILIES[kind], config.to_dict())
    assert (sorted(layers), experts) == (sorted(linear), [])
    assert {name for name in modules if name not in dict(model.named_modules())} == set()


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_router_loss_is_refused_where_an_architecture_has_none(kind: str):
    has_one = hasattr(config_of(kind), "router_aux_loss_coef")
    faults = said({"model_type": kind}, router_loss=0.1)
    assert faults == [] if has_one else f"models of type {kind!r} have no router loss" in faults[0]
    assert said({"model_type": kind}, router_loss=0.0) == said({"model_type": kind, "router_aux_loss_coef": 0.1}) == []


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("llama", "q_proj", None),
        ("llama", "self_attn.q_proj", None),
        ("llama", "q_prj", "q_prj is not found in the model; name layers such as down_proj, gate_proj, k_proj"),
        ("llama", "embed_tokens", "only linear layers and experts can be trained; name layers such as"),
        ("llama", "mlp", "only linear layers and experts can be trained; name layers such as"),
        ("llama", "lm_head", "and not the output head"),
        ("gpt2", "wpe", "only linear layers and experts can be trained; name layers such as c_attn, c_fc, c_proj"),
        ("gpt_neox", "embed_out", "and not the output head"),
        ("mixtral", "q_prj", None),
        ("unheard-of", "q_prj", None),
    ],
)
def test_targets_of_adapters_are_looked_for_in_the_configuration(kind: str, target: str, message: str | None):
    config = config_of(kind).to_dict() if kind in FAMILIES else {"model_type": kind}
    faults = said(config, lora={"rank": 8, "targets": [target]})
    assert [fault.startswith(f"training.lora.targets ['{target}']: ") for fault in faults] == [True] * (
        message is not None
    )
    assert message is None or message in faults[0]
    assert said(config, lora={"rank": 0, "targets": [target]}) == []
