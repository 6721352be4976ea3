"""A micro-batch as one row of tokens without padding, in which a DPO pair's prompt stands once.

Sequences of an example that share their prompt are that prompt, then their targets as branches: a branch sees the
prompt and itself, and its positions go on from the prompt's. Who sees whom is said by segments, in place of a mask.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from selfreward_ray.records import TokenSequence


@dataclass(frozen=True)
class Segment:
    """Tokens of the row that are attended from together: each sees all of `prefix`, and of `queries` what is not
    after itself."""

    queries: slice
    prefix: slice
    """Earlier tokens; empty where the segment is a beginning."""

    @property
    def keys(self) -> int:
        """Tokens that the last one sees, itself among them."""
        return int(self.prefix.stop - self.prefix.start + self.queries.stop - self.queries.start)


@dataclass(frozen=True)
class Packed:
    """One row of T tokens with N scored targets, these in the order of `sequences`."""

    sequences: tuple[TokenSequence, ...]
    token_ids: Tensor
    """Of shape [T]."""
    position_ids: Tensor
    """Each token's place in its own sequence, of shape [T]."""
    segments: tuple[Segment, ...]
    """They follow each other without a gap."""
    predictors: Tensor
    """Where in the row each scored target is predicted, of shape [N]; a prompt's last token predicts the first of both
    branches."""
    target_ids: Tensor
    """Of shape [N]."""


def longest_sequence(example: Any) -> int:
    """Tokens of the example's longest sequence: what the model must be able to read at once."""
    return max(len(s.prompt_ids) + len(s.target_ids) for s in example.sequences())


def packed_length(example: Any) -> int:
    """Tokens of the row that `example` takes: each prompt once, and every target."""
    groups = _by_prompt(example)
    return sum(len(group[0].prompt_ids) + sum(len(s.target_ids) for s in group) for group in groups)


def pack(examples: tuple[Any, ...]) -> Packed:
    """The row of `examples`."""
    token_ids: list[int] = []
    position_ids: list[int] = []
    predictors: list[int] = []
    segments: list[Segment] = []
    sequences: list[TokenSequence] = []
    for branches in (group for example in examples for group in _by_prompt(example)):
        start, end = len(token_ids), len(token_ids) + len(branches[0].prompt_ids)
        token_ids += branches[0].prompt_ids
        position_ids += range(end - start)
        for branch in branches:
            first, stop = len(token_ids), len(token_ids) + len(branch.target_ids)
            token_ids += branch.target_ids
            position_ids += range(end - start, end - start + stop - first)
            # What the model only reads gives no log-probabilities.
            predictors += [end - 1, *range(first, stop - 1)][branch.context :]
            # The first branch goes on where the prompt ends: the two are one segment.
            whole = first == end
            segments.append(Segment(slice(start if whole else first, stop), slice(start, start if whole else end)))
        sequences += branches
    return Packed(
        tuple(sequences),
        torch.tensor(token_ids),
        torch.tensor(position_ids),
        tuple(segments),
        torch.tensor(predictors),
        torch.tensor([i for s in sequences for i in s.scored_ids]),
    )


def _by_prompt(example: Any) -> list[list[TokenSequence]]:
    """The example's sequences, those side by side that have the same prompt together."""
    return [list(group) for _, group in groupby(example.sequences(), key=lambda s: s.prompt_ids)]
