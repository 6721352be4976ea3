"""LoRA: what is trained is a product of two thin matrices beside each weight (Hu et al. 2021, arXiv 2106.09685)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from selfreward_ray.models.trained_parts import adapted
from selfreward_ray.recipe.training import Lora
from selfreward_ray.training.experts import adapt_experts, expert_weights, factors

_BASE = ".base_layer."
_NAME = "default"
_LINEAR = (nn.Linear, Conv1D)
"""These classes alone: a router may be of a class made of one of them, and gives more than a product."""


@dataclass(frozen=True)
class Weight:
    """A tensor of the model, with the product that is to be added to it."""

    tensor: Tensor
    factors: tuple[Tensor, Tensor] | None = None
    """B and A, of shapes [..., out, r] and [..., r, in]; None where it is trained, or left, as it is."""
    scaling: float = 1.0
    transposed: bool = False
    """Whether `tensor` is of shape [in, out]."""

    def parts(self) -> list[Tensor]:
        """What has to be gathered for `value`."""
        return [self.tensor, *(self.factors or ())]

    def value(self) -> Tensor:
        """W + scaling · B·A of gathered parts, in host memory; added in float32 and then rounded to W's dtype."""
        if self.factors is None:
            return self.tensor.detach().cpu().clone()
        weight, up, down = (part.detach().float() for part in self.parts())
        product = self.scaling * (up @ down)
        merged = weight + (product.mT if self.transposed else product)
        return merged.to(self.tensor.dtype).cpu()


def saved_weights(model: Any) -> dict[str, Weight]:
    """By their names in the model, in its order: parameters, tied ones once, and saved buffers."""
    saved = model.state_dict().keys()
    adapted: dict[str, tuple[tuple[Tensor, Tensor], float, bool]] = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            pair = (module.lora_B[_NAME].weight, module.lora_A[_NAME].weight)
            adapted[f"{name}{_BASE}weight"] = (pair, module.scaling[_NAME], module.fan_in_fan_out)
        for weight, scaling in getattr(module, "lora_weights", {}).items():
            adapted[f"{name}.{weight}"] = (factors(module, weight), scaling, False)
    tensors = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in saved}
    return {
        name.replace(_BASE, "."): Weight(tensor, *adapted.get(name, ()))
        for name, tensor in tensors.items()
        if ".lora_" not in name
    }


def add_adapter(model: Any, lora: Lora) -> None:
    """Freeze `model` and put new adapters, whose product is 0, into it in place: beside the weights of linear layers
    and of experts. A router has none, and neither has the output head.

    Raises `UserError` for targets that are not there, and for those that could not be merged when the model is
    exported or trained.
    """
    from peft import LoraConfig, inject_adapter_in_model  # a second of import that other trainings do without

    linear, experts = _targets(model, lora.targets)
    model.requires_grad_(False)
    if linear:
        # Within a module that has no configuration: of some mixtures `peft` would adapt the experts too, in its way.
        names = [f"0.{name}" for name in linear]
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=names)
        inject_adapter_in_model(config, nn.ModuleList([model]), _NAME)
    modules = {id(module): module for module, _ in experts}
    for key, module in modules.items():
        adapt_experts(module, [name for owner, name in experts if id(owner) == key], lora.rank, lora.alpha)


def _targets(model: Any, wanted: tuple[str, ...]) -> tuple[list[str], list[tuple[Any, str]]]:
    """Names of the linear layers of `model` that the names `wanted` stand for, and its weights of experts; all of them
    where there are none. Raises as `add_adapter` does."""
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if type(module) in _LINEAR and module is not head]
    experts = expert_weights(model)
    modules = {name: module for name, module in model.named_modules() if name}
    chosen = adapted(wanted, [*linear, *experts], modules, [name for name, module in modules.items() if module is head])
    return [name for name in chosen if name not in experts], [experts[name] for name in chosen if name in experts]
