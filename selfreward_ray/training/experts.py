"""LoRA for the experts of a mixture, whose matrices transformers holds in one tensor of three dimensions.

Each expert has its own two thin matrices. `peft` puts its product into such a tensor by PyTorch's parametrizations,
which replace the parameter for the time of a pass; ZeRO-3 would lose its shards.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_DOWN, _UP = "lora_A_", "lora_B_"


def expert_weights(model: Any) -> dict[str, tuple[Any, str]]:
    """The tensors of `model` that hold a matrix for each expert, by their names: the module, and the name in it."""
    return {
        f"{path}.{name}": (module, name)
        for path, module in model.named_modules()
        if not isinstance(module, nn.modules.conv._ConvNd)
        for name, parameter in module.named_parameters(recurse=False)
        if len(_shape(parameter)) == 3
    }


def adapt_experts(module: Any, weights: Iterable[str], rank: int, alpha: float) -> None:
    """Add new adapters, whose product is 0, to `weights` of `module`, in place.

    While `module` runs, each weight is replaced by the sum of itself and the product of its adapter.
    """
    module.lora_weights = dict.fromkeys(weights, alpha / rank)
    for weight in module.lora_weights:
        parameter = getattr(module, weight)
        experts, rows, columns = _shape(parameter)
        like = {"dtype": parameter.dtype, "device": parameter.device}
        down = nn.Parameter(torch.empty(experts, rank, columns, **like))
        for matrix in down.data:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))  # as beside a linear layer
        module.register_parameter(_DOWN + weight, down)
        module.register_parameter(_UP + weight, nn.Parameter(torch.zeros(experts, rows, rank, **like)))
    plain = module.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        # What stands in an object's dictionary comes before a module's parameters.
        for weight, scaling in module.lora_weights.items():
            up, down = factors(module, weight)
            module.__dict__[weight] = torch.baddbmm(getattr(module, weight), up, down, alpha=scaling)
        try:
            return plain(*arguments, **keywords)
        finally:
            for weight in module.lora_weights:
                module.__dict__.pop(weight, None)

    module.forward = forward


def factors(module: Any, weight: str) -> tuple[Tensor, Tensor]:
    """B and A beside `weight`, of shapes [experts, rows, r] and [experts, r, columns]."""
    return getattr(module, _UP + weight), getattr(module, _DOWN + weight)


def _shape(parameter: Any) -> tuple[int, ...]:
    """The whole shape, also of a parameter of which this rank holds a slice."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
