"""LoRA: what is trained is a product of two thin matrices beside each weight (Hu et al. 2021, arXiv 2106.09685)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.training import Lora

_BASE = ".base_layer."
_NAME = "default"


@dataclass(frozen=True)
class Weight:
    """A tensor of a model folder: one of the policy's own, with the product that is to be added to it."""

    tensor: Tensor
    layer: Any | None = None
    """peft's layer around it; None where it is trained, or left, as it is."""

    def parts(self) -> list[Tensor]:
        """What has to be gathered for `value`."""
        if self.layer is None:
            return [self.tensor]
        return [self.tensor, self.layer.lora_A[_NAME].weight, self.layer.lora_B[_NAME].weight]

    def value(self) -> Tensor:
        """W + scaling · B·A of gathered parts, in host memory; added in float32 and then rounded to W's dtype."""
        if self.layer is None:
            return self.tensor.detach().cpu().clone()
        weight, down, up = (part.detach().float() for part in self.parts())
        product = self.layer.scaling[_NAME] * (up @ down)
        merged = weight + (product.T if self.layer.fan_in_fan_out else product)
        return merged.to(self.tensor.dtype).cpu()


def saved_weights(model: Any) -> dict[str, Weight]:
    """By their names in a model folder, in the model's order: parameters, tied ones once, and saved buffers."""
    saved = model.state_dict().keys()
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    adapters = {f"{name}{_BASE}weight": layer for name, layer in layers.items()}
    tensors = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in saved}
    return {
        name.replace(_BASE, "."): Weight(tensor, adapters.get(name))
        for name, tensor in tensors.items()
        if ".lora_" not in name
    }


def add_adapter(model: Any, lora: Lora) -> None:
    """Freeze `model` and put new adapters, whose product is 0, into it in place.

    Raises `UserError` for targets that are not there, and for those that could not be merged when the model is
    exported or trained: other layers than linear ones, and the output head.
    """
    from peft import LoraConfig, inject_adapter_in_model  # a second of import that other trainings do without

    targets = list(lora.targets) if lora.targets else "all-linear"
    try:
        inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets), model, _NAME)
    except ValueError as error:
        raise UserError(f"training.lora.targets {targets}: {error}") from None
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = [weight.layer for weight in saved_weights(model).values() if weight.layer is not None]
    linear = [layer for layer in layers if _NAME in layer.lora_A and hasattr(layer, "fan_in_fan_out")]
    if len(trained) != 2 * len(linear) or hasattr(model.get_output_embeddings(), "lora_A"):
        raise UserError(f"training.lora.targets {targets}: only linear layers can be trained, and not the output head")
