"""SFT and DPO as pure functions of log-probs. The worker knows neither.

An objective's `loss` is a *sum* over examples; the worker divides by the whole step's weight, so that the
update does not depend on how examples fall on ranks and forward passes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from selfreward_ray.recipe.training import Dpo
from selfreward_ray.records import PairTokens, SftTokens, TokenSequence

LogProbs = dict[str, Tensor]
"""Sequence id → log-probs of its scored target tokens, float32 of shape [scored tokens], in nats."""


class Reference(Protocol):
    """Sequence id → the reference model's summed target log-prob, in nats."""

    def __getitem__(self, sequence: str, /) -> float: ...


class Objective(Protocol):
    record: type[Any]

    @property
    def first_loss(self) -> float | None:
        """The preference loss, a pair, of a policy that is its reference still; None where no reference is used."""

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
    first_loss = None

    def weight(self, example: SftTokens) -> float:
        return len(example.target_ids) - example.context

    def loss(
        self, examples: tuple[SftTokens, ...], logprobs: LogProbs, reference: Reference
    ) -> tuple[Tensor, dict[str, float]]:
        del reference
        total = -torch.stack([logprobs[s.id].sum() for e in examples for s in e.sequences()]).sum()
        return total, {}


class Margin(NamedTuple):
    """(π−ref)(chosen) − (π−ref)(rejected) of pairs, in nats, float32 of shape [pairs], each measured in two ways."""

    summed: Tensor
    """A reply's log-ratio is the sum over its tokens."""
    averaged: Tensor
    """A reply's log-ratio is the mean over its tokens."""

    def turned(self) -> "Margin":
        """Of the same pairs with chosen and rejected exchanged."""
        return Margin(-self.summed, -self.averaged)


def sigmoid(margin: Margin, beta: float) -> Tensor:
    """−log σ(β·margin), the margin summed (Rafailov et al. 2023, eq. 7)."""
    return -functional.logsigmoid(beta * margin.summed)


def length_normalized(margin: Margin, beta: float) -> Tensor:
    """−log σ(β·margin), the margin averaged: a reply gains nothing by its length alone (Lambert et al. 2024, Tülu 3).

    Averaged margins are smaller by the replies' lengths, so β wants to be greater: 5 in Tülu 3.
    """
    return -functional.logsigmoid(beta * margin.averaged)


def ipo(margin: Margin, beta: float) -> Tensor:
    """(margin − 1/(2β))², β for the paper's τ (Azar et al. 2023, eq. 17).

    The margin is averaged, though the equation writes whole replies: summed, the distance asked for would be the
    same for replies of ten tokens and of a thousand. TRL averages too, and says that it is what the paper's authors
    did; so β means here what it means there.
    """
    return (margin.averaged - 1 / (2 * beta)) ** 2


LOSSES: dict[str, Callable[[Margin, float], Tensor]] = {
    "sigmoid": sigmoid,
    "length-normalized": length_normalized,
    "ipo": ipo,
}
"""By their name in the recipe, `dpo.loss`: pairs' margins and β → each pair's loss, shape [pairs]."""


@dataclass(frozen=True)
class DpoObjective:
    """A loss of `LOSSES` on the pairs' margins (paper, section 2.3).

    A pair's label smoothing ε is the probability that its label is wrong. Its loss is then 1−ε times the loss of the
    pair plus ε times that of the pair with chosen and rejected swapped. With a sigmoid this is conservative DPO
    (Mitchell 2023). With IPO it is the paper's own loss of a preference that holds with probability 1−ε: up to a
    constant, (margin − (1−2ε)/(2β))².

    `nll_weight` adds the chosen reply's negative log-likelihood a token (Pang et al. 2024), `eft_weight` that of the
    verdict in the judging row that the pair carries. The rewards that are told are β·(π−ref), summed over the reply
    whatever the loss, so that they compare between losses.
    """

    dpo: Dpo
    record = PairTokens

    @property
    def first_loss(self) -> float:
        """At margin 0, which no smoothing moves: ln 2 of a sigmoid, 1/(4β²) of IPO."""
        zero = torch.zeros(1)
        return float(LOSSES[self.dpo.loss](Margin(zero, zero), self.dpo.beta))

    def weight(self, example: PairTokens) -> float:
        del example
        return 1.0

    def loss(
        self, examples: tuple[PairTokens, ...], logprobs: LogProbs, reference: Reference
    ) -> tuple[Tensor, dict[str, float]]:
        def log_ratios(sequences: list[TokenSequence]) -> tuple[Tensor, Tensor]:
            summed = torch.stack([logprobs[s.id].sum() - reference[s.id] for s in sequences])
            return summed, summed / summed.new_tensor([len(s.scored_ids) for s in sequences])

        chosen, chosen_averaged = log_ratios([e.chosen for e in examples])
        rejected, rejected_averaged = log_ratios([e.rejected for e in examples])
        margin = Margin(chosen - rejected, chosen_averaged - rejected_averaged)
        measure, beta = LOSSES[self.dpo.loss], self.dpo.beta
        smoothing = chosen.new_tensor([e.label_smoothing for e in examples])
        preference = ((1 - smoothing) * measure(margin, beta) + smoothing * measure(margin.turned(), beta)).sum()
        nll = -torch.stack([logprobs[e.chosen.id].mean() for e in examples]).sum()
        metrics = {
            "preference_loss": preference.item(),
            "chosen_nll": nll.item(),
            "accuracy": (chosen > rejected).float().sum().item(),
            "chosen_reward": beta * chosen.sum().item(),
            "rejected_reward": beta * rejected.sum().item(),
            "reward_margin": beta * (chosen - rejected).sum().item(),
        }
        loss = preference + self.dpo.nll_weight * nll
        if verdicts := [s for e in examples if e.eft for s in e.eft.sequences()]:
            eft_nll = -torch.stack([logprobs[s.id].mean() for s in verdicts]).sum()
            loss = loss + self.dpo.eft_weight * eft_nll
            metrics["eft_nll"] = eft_nll.item()
        return loss, metrics


def learning_rate(step: int, steps: int, schedule: str, first: float, final: float, warmup: int) -> float:
    """Rate of `step` (0-based) of `steps`: linear warm-up, then a fall to `final`, reached at the last step."""
    if step < warmup:
        return first * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - 1 - warmup)
    fall = share if schedule == "linear" else (1 - math.cos(share * math.pi)) / 2
    return first + (final - first) * fall
