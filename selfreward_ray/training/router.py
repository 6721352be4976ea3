"""The load-balancing loss of a mixture of experts (Fedus et al. 2021, arXiv 2101.03961, equations 4 to 6).

The loss of a sequence is E · Σ f·p over the E experts: f is the share of its tokens that an expert gets, p the mean of
the expert's probabilities, both over its tokens and all layers. transformers computes the same for the sequence alone
if `output_router_logits` is set. The loss depends neither on what else is in a packed row, nor on how the examples of a
step are divided into passes.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from selfreward_ray.models.trained_parts import no_router_loss
from selfreward_ray.training.attention import Spans


def router_weight(config: Any, wanted: float | None) -> float:
    """Weight of the loss for a model of `config`: `wanted`, else the architecture's own. 0 where it has no such loss.

    Raises `UserError` for a weight above 0 where the architecture has none.
    """
    text = config.get_text_config()
    own = getattr(text, "router_aux_loss_coef", None)
    if own is None and wanted:
        raise no_router_loss(wanted, text.model_type)
    return float((own if wanted is None else wanted) or 0.0)


def router_losses(gates: Iterable[Tensor], spans: Spans, experts_per_token: int) -> Tensor:
    """Each sequence's loss, over all tokens that it sees, float32 of shape [sequences].

    `gates` are the layers' router logits over the row's T tokens, each of shape [T, E] or [1, T, E].
    """
    gates_TE = [gate.reshape(-1, gate.shape[-1]) for gate in gates]
    device, experts, sequences = gates_TE[0].device, gates_TE[0].shape[1], len(spans.keys)
    keys_S = torch.tensor(spans.keys, device=device)
    owner = torch.arange(sequences, device=device).repeat_interleave(keys_S)
    taken_SE, chance_SE = (torch.zeros(sequences, experts, device=device) for _ in range(2))
    for gate_TE in gates_TE:
        chances_TE = gate_TE.float().softmax(-1)
        picks_TE = torch.zeros_like(chances_TE).scatter_(1, chances_TE.topk(experts_per_token).indices, 1.0)
        taken_SE = taken_SE.index_add(0, owner, picks_TE[spans.places])
        chance_SE = chance_SE.index_add(0, owner, chances_TE[spans.places])
    rows_S1 = (keys_S * len(gates_TE))[:, None]
    return experts * (taken_SE / rows_S1 * (chance_SE / rows_S1)).sum(1)
