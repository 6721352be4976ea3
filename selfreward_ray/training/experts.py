"""LoRA beside the experts of a mixture, which transformers holds as one tensor of three dimensions, all in one.

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
    """By its name in `model`, each tensor that holds a matrix for each expert: its module, and its name there."""
    return {
        f"{path}.{name}": (module, name)
        for path, module in model.named_modules()
        if not isinstance(module, nn.modules.conv._ConvNd)
        for name, parameter in module.named_parameters(recurse=False)
        if len(_shape(parameter)) == 3
    }


def adapt_experts(module: Any, weights: Iterable[str], rank: int, alpha: float) -> None:
    """Put new adapters, whose product is 0, beside `weights` of `module` in place.

    While `module` runs, the sum of weight and product stands in each weight's place.
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
    """Also of a parameter of which this rank holds a slice."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
