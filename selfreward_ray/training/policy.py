"""The policy as the trainer sees it: sequences in, log-probs of their target tokens out."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfreward_ray.errors import UserError
from selfreward_ray.records import TokenSequence
from selfreward_ray.training.objectives import LogProbs


class Policy(nn.Module):
    """A causal language model that returns log-probs of target tokens only.

    Logits are made for target positions alone and in chunks that the backward pass computes again, so the
    full ``[tokens, vocabulary]`` matrix never exists. Raises `UserError` for a model that does more to its
    logits than the head.
    """

    def __init__(self, model: Any, pad_id: int):
        super().__init__()
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(model.config, name, None) not in (None, 1.0):
                raise UserError(f"models whose logits are changed after the head are not supported: config has {name}")
        self.model = model
        self.pad_id = pad_id

    def forward(self, sequences: list[TokenSequence], head_chunks: int) -> Tensor:
        """Log-probs of all target tokens, float32, in the order of `sequences`; the head is applied in parts.

        One tensor: ZeRO-3 gathers at each output's backward, so ranks must have equally many outputs, whatever
        the number of their sequences.
        """
        input_ids_BT, attention_mask_BT = self._pad(sequences)
        hidden_BTD = self.model.base_model(
            input_ids=input_ids_BT, attention_mask=attention_mask_BT, use_cache=False
        ).last_hidden_state
        # The token at position t is predicted at t - 1.
        hidden_ND = torch.cat(
            [
                hidden_BTD[row, len(s.prompt_ids) - 1 : len(s.prompt_ids) + len(s.target_ids) - 1]
                for row, s in enumerate(sequences)
            ]
        )
        targets_N = torch.tensor([i for s in sequences for i in s.target_ids], device=hidden_ND.device)
        return torch.cat(
            [
                checkpoint(self._chunk, hidden, targets, use_reentrant=False)
                for hidden, targets in zip(
                    hidden_ND.tensor_split(head_chunks), targets_N.tensor_split(head_chunks), strict=True
                )
            ]
        )

    def _chunk(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = self.model.get_output_embeddings()(hidden_ND).float()
        return -nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")

    def _pad(self, sequences: list[TokenSequence]) -> tuple[Tensor, Tensor]:
        """Ids and attention mask, padded on the right to the longest sequence."""
        rows = [[*s.prompt_ids, *s.target_ids] for s in sequences]
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.pad_id] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        device = next(self.model.parameters()).device
        return ids.to(device), mask.to(device)


def by_sequence(sequences: list[TokenSequence], logprobs_N: Tensor) -> LogProbs:
    """The output of `Policy` taken apart."""
    parts = logprobs_N.split([len(s.target_ids) for s in sequences])
    return {s.id: part for s, part in zip(sequences, parts, strict=True)}
