"""The policy as the trainer sees it: a packed row in, log-probs of its target tokens out."""

from typing import Any

import torch
from torch import Tensor, nn

from selfreward_ray.errors import UserError
from selfreward_ray.training.attention import Spans, use_packed_attention
from selfreward_ray.training.head import TargetHead
from selfreward_ray.training.objectives import LogProbs
from selfreward_ray.training.packing import Packed
from selfreward_ray.training.router import router_losses


class Policy(nn.Module):
    """A causal language model that returns log-probs of target tokens only.

    Logits are made for target positions alone and a few at a time, so the full ``[tokens, vocabulary]`` matrix never
    exists. A passing `routes` in training gives the sequences' router losses too. Raises `UserError` for a model that
    does more to its logits than a linear head without bias and a factor, or that can not attend to a packed row as to
    sequences of up to `max_tokens`.
    """

    def __init__(self, model: Any, max_tokens: int, *, routes: bool = False):
        super().__init__()
        config = model.config.get_text_config()
        if getattr(config, "final_logit_softcapping", None) is not None:
            raise UserError(
                "models whose logits are changed after the head are not supported: config has final_logit_softcapping"
            )
        if routes and "router_logits" not in (model.base_model._can_record_outputs or {}):
            raise UserError(
                f"the router loss of models of type {config.model_type!r} is not known here; set training.router_loss "
                "to 0"
            )
        if routes:
            config.output_router_logits = True  # as a keyword of the forward it would reach the attention too
        head = model.get_output_embeddings()
        if type(head) is not nn.Linear or head.bias is not None:
            raise UserError(
                f"output heads other than a plain linear one without bias cannot be trained: this is {head}"
            )
        use_packed_attention(model, max_tokens)
        self.logit_factor = _logit_factor(config)
        self.routes = routes
        model.set_output_embeddings(TargetHead(head.weight))
        self.model = model

    def forward(self, packed: Packed) -> Tensor:
        """Log-probs of all N scored targets, float32, in the order of `packed.sequences`; then, if it `routes` and is
        in training, the router loss of each sequence.

        One tensor: ZeRO-3 gathers at each output's backward, so ranks must have equally many outputs, whatever
        the number of their sequences.
        """
        device = next(self.model.parameters()).device
        spans = Spans.of(packed.segments, device)
        outputs = self.model.base_model(
            input_ids=packed.token_ids[None].to(device),
            position_ids=packed.position_ids[None].to(device),
            use_cache=False,
            spans=spans,
        )
        hidden_ND = outputs.last_hidden_state[0, packed.predictors.to(device)]
        if self.logit_factor != 1.0:
            hidden_ND = hidden_ND * self.logit_factor
        head: TargetHead = self.model.get_output_embeddings()
        logprobs_N: Tensor = head(hidden_ND, packed.target_ids.to(device))
        if not (self.routes and self.training):
            return logprobs_N
        # One span a sequence, in their order.
        losses_S = router_losses(outputs.router_logits, spans, self.model.config.get_text_config().num_experts_per_tok)
        return torch.cat([logprobs_N, losses_S])


def by_sequence(packed: Packed, output: Tensor) -> LogProbs:
    """The log-probs in the output of `Policy`."""
    counts = [len(s.scored_ids) for s in packed.sequences]
    parts = output[: sum(counts)].split(counts)
    return {s.id: part for s, part in zip(packed.sequences, parts, strict=True)}


def router_by_sequence(packed: Packed, output: Tensor) -> dict[str, Tensor]:
    """The router losses in the output of `Policy`, scalars; none if it gave none."""
    losses = output[sum(len(s.scored_ids) for s in packed.sequences) :]
    return {s.id: loss for s, loss in zip(packed.sequences, losses, strict=False)}


def _logit_factor(config: Any) -> float:
    """What the architecture multiplies its logits by: Granite divides, Cohere multiplies."""
    return float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
