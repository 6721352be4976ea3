"""Model FLOPs: the floating-point operations that a model needs for a sequence, in any implementation.

A product of a `[T, a]` with an `[a, b]` matrix counts 2·T·a·b. For a sequence of T tokens, N of them targets,

    forward = 2·T·body + 2·N·head + 2·T²·layers·width

`body`: weights of all matrix products but the head's; `head`: those of the output head, which only targets need;
`width`: heads times the head size. The last term is causal attention: the products with keys and with values, each over
half of the T² positions. The backward pass counts twice the forward pass. Recomputed activations, padding, norms and
sums do not count. Tokens that sequences share, such as a pair's prompt, count for each of them even if they are
computed once, as model FLOPs are those of the sequences computed separately.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers import AutoModelForCausalLM

from selfreward_ray.records import TokenSequence

_DENSE_BFLOAT16 = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
)
"""NVIDIA's figures for dense bfloat16 products, in FLOP/s, by words in PyTorch's name of the device; the first match
counts."""


def peak_flops(name: str) -> float | None:
    """Peak rate of the GPU that PyTorch calls `name`, in FLOP/s of dense bfloat16 products; None if not known."""
    padded = f" {name.replace('-', ' ')} "
    return next((peak for words, peak in _DENSE_BFLOAT16 if f" {words} " in padded), None)


@dataclass(frozen=True)
class ModelFlops:
    body: int
    head: int
    attention: int
    """Layers times heads times the head size."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """From a transformers configuration of a dense causal model."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
        head = model.get_output_embeddings().weight.numel()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(linear - head, head, config.num_hidden_layers * config.num_attention_heads * size)

    def forward(self, sequences: Iterable[TokenSequence]) -> float:
        """FLOPs of the forward pass."""
        return float(sum(self._forward(len(s.prompt_ids) + len(s.target_ids), len(s.scored_ids)) for s in sequences))

    def training(self, sequences: Iterable[TokenSequence]) -> float:
        """FLOPs of the forward and the backward pass."""
        return 3 * self.forward(sequences)

    def _forward(self, tokens: int, targets: int) -> int:
        return 2 * tokens * self.body + 2 * targets * self.head + 2 * tokens**2 * self.attention
