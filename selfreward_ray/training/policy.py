"""The policy as the trainer sees it: a packed row in, log-probs of its target tokens out."""

from typing import Any

from torch import Tensor, nn

from selfreward_ray.errors import UserError
from selfreward_ray.training.attention import Spans, has_flash_attention, use_packed_attention
from selfreward_ray.training.head import TargetHead
from selfreward_ray.training.objectives import LogProbs
from selfreward_ray.training.packing import Packed


class Policy(nn.Module):
    """A causal language model that returns log-probs of target tokens only.

    Logits are made for target positions alone and a few at a time, so the full ``[tokens, vocabulary]`` matrix never
    exists. Raises `UserError` for a model that does more to its logits than a linear head without bias, or that can
    not attend to a packed row as to sequences of up to `max_tokens`.
    """

    def __init__(self, model: Any, max_tokens: int):
        super().__init__()
        config = model.config.get_text_config()
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(config, name, None) not in (None, 1.0):
                raise UserError(f"models whose logits are changed after the head are not supported: config has {name}")
        head = model.get_output_embeddings()
        if type(head) is not nn.Linear or head.bias is not None:
            raise UserError(
                f"output heads other than a plain linear one without bias cannot be trained: this is {head}"
            )
        use_packed_attention(model, max_tokens)
        model.set_output_embeddings(TargetHead(head.weight))
        self.model = model

    def forward(self, packed: Packed) -> Tensor:
        """Log-probs of all N scored targets, float32, in the order of `packed.sequences`.

        One tensor: ZeRO-3 gathers at each output's backward, so ranks must have equally many outputs, whatever
        the number of their sequences.
        """
        device = next(self.model.parameters()).device
        hidden_1TD = self.model.base_model(
            input_ids=packed.token_ids[None].to(device),
            position_ids=packed.position_ids[None].to(device),
            use_cache=False,
            segments=packed.segments,
            spans=Spans.of(packed.segments, device) if has_flash_attention(device) else None,
        ).last_hidden_state
        head: TargetHead = self.model.get_output_embeddings()
        logprobs_N: Tensor = head(hidden_1TD[0, packed.predictors.to(device)], packed.target_ids.to(device))
        return logprobs_N


def by_sequence(packed: Packed, logprobs_N: Tensor) -> LogProbs:
    """The output of `Policy` taken apart."""
    parts = logprobs_N.split([len(s.scored_ids) for s in packed.sequences])
    return {s.id: part for s, part in zip(packed.sequences, parts, strict=True)}
