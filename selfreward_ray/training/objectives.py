"""SFT and DPO as pure functions of log-probs. The worker knows neither.

An objective's `loss` is a *sum* over examples; the worker divides by the whole step's weight, so that the
update does not depend on how examples fall on ranks and forward passes.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from selfreward_ray.recipe import Dpo
from selfreward_ray.records import PairTokens, SftTokens

LogProbs = dict[str, Tensor]
"""Sequence id → log-probs of its target tokens, float32 of shape [target tokens], in nats."""
Reference = dict[str, float]
"""Sequence id → the reference model's summed target log-prob, in nats."""


class Objective(Protocol):
    record: type[Any]
    uses_reference: bool

    def weight(self, example: Any) -> float:
        """The example's share of a step's loss."""

    def loss(
        self, examples: tuple[Any, ...], logprobs: LogProbs, reference: Reference
    ) -> tuple[Tensor, dict[str, float]]:
        """Summed loss (scalar) and summed metrics of the examples."""


@dataclass(frozen=True)
class SftObjective:
    """Negative log-likelihood of target tokens, each token weighing the same (paper, section 2.1)."""

    record = SftTokens
    uses_reference = False

    def weight(self, example: SftTokens) -> float:
        return len(example.target_ids)

    def loss(
        self, examples: tuple[SftTokens, ...], logprobs: LogProbs, reference: Reference
    ) -> tuple[Tensor, dict[str, float]]:
        del reference
        total = -torch.stack([logprobs[s.id].sum() for e in examples for s in e.sequences()]).sum()
        return total, {}


@dataclass(frozen=True)
class DpoObjective:
    """−log σ(β·margin), margin = (π−ref)(chosen) − (π−ref)(rejected) (Rafailov et al. 2023, eq. 7).

    A pair's label smoothing ε is the chance that its label is wrong: the loss is then (1−ε) of this one and ε of
    that of the pair turned round (conservative DPO, Mitchell 2023). `nll_weight` adds the chosen reply's negative
    log-likelihood a token.
    """

    dpo: Dpo
    record = PairTokens
    uses_reference = True

    def weight(self, example: PairTokens) -> float:
        del example
        return 1.0

    def loss(
        self, examples: tuple[PairTokens, ...], logprobs: LogProbs, reference: Reference
    ) -> tuple[Tensor, dict[str, float]]:
        def reward(sequence_id: str) -> Tensor:
            return self.dpo.beta * (logprobs[sequence_id].sum() - reference[sequence_id])

        chosen = torch.stack([reward(e.chosen.id) for e in examples])
        rejected = torch.stack([reward(e.rejected.id) for e in examples])
        margin, smoothing = chosen - rejected, chosen.new_tensor([e.label_smoothing for e in examples])
        right, wrong = functional.logsigmoid(margin), functional.logsigmoid(-margin)
        preference = -((1 - smoothing) * right + smoothing * wrong).sum()
        nll = -torch.stack([logprobs[e.chosen.id].mean() for e in examples]).sum()
        metrics = {
            "preference_loss": preference.item(),
            "chosen_nll": nll.item(),
            "accuracy": (chosen > rejected).float().sum().item(),
            "chosen_reward": chosen.sum().item(),
            "rejected_reward": rejected.sum().item(),
        }
        return preference + self.dpo.nll_weight * nll, metrics


def learning_rate(step: int, steps: int, schedule: str, first: float, final: float, warmup: int) -> float:
    """Rate of `step` (0-based) of `steps`: linear warm-up, then a fall to `final`, reached at the last step."""
    if step < warmup:
        return first * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - 1 - warmup)
    fall = share if schedule == "linear" else (1 - math.cos(share * math.pi)) / 2
    return first + (final - first) * fall
