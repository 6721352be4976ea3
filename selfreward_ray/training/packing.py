"""A micro-batch as one row of tokens without padding, in which no beginning stands twice.

The sequences of a pass are sorted by their tokens: the longest beginning that a sequence shares with any before it is
the one that it shares with its neighbour. It stands in the row already, such as a judge's preamble, an instruction, a
pair's prompt, the first words of two replies. The sequence adds the rest as a segment, which sees that beginning and
itself, and whose positions go on from there. Segments encode the attention pattern, in place of a mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfreward_ray.records import TokenSequence


@dataclass(frozen=True)
class Segment:
    """What one sequence adds to the row: each token sees all of `prefix`, and of `queries` what is not after itself."""

    queries: slice
    prefix: tuple[slice, ...] = ()
    """Earlier tokens of the row that the sequence begins with, in its order."""

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where all tokens of the sequence stand, in its order."""
        return (*self.prefix, self.queries)

    @property
    def keys(self) -> int:
        """Tokens that the last one sees, itself among them: those of the sequence."""
        return sum(span.stop - span.start for span in self.spans)

    def places(self) -> list[int]:
        """Where each token of the sequence stands."""
        return [place for span in self.spans for place in range(span.start, span.stop)]

    def beginning(self, tokens: int) -> tuple[slice, ...]:
        """Where the first `tokens` tokens of the sequence stand."""
        found = []
        for span in self.spans:
            taken = min(tokens, span.stop - span.start)
            tokens -= taken
            if taken:
                found.append(slice(span.start, span.start + taken))
        return tuple(found)


@dataclass(frozen=True)
class Packed:
    """One row of T tokens with N scored targets, these in the order of `sequences`."""

    sequences: tuple[TokenSequence, ...]
    token_ids: Tensor
    """Of shape [T]."""
    position_ids: Tensor
    """Each token's place in its own sequence, of shape [T]."""
    segments: tuple[Segment, ...]
    """One a sequence, in their order. Their `queries` follow each other without a gap."""
    predictors: Tensor
    """Where in the row each scored target is predicted, of shape [N]; a token may predict targets of several
    sequences."""
    target_ids: Tensor
    """Of shape [N]."""


def longest_sequence(example: Any) -> int:
    """Tokens of the example's longest sequence: what the model must be able to read at once."""
    return max(len(_ids(s)) for s in example.sequences())


def packed_length(examples: Iterable[Any]) -> int:
    """Tokens of the row of `examples`."""
    return int(lay_out(examples)[-1][1].queries.stop)


def lay_out(examples: Iterable[Any]) -> list[tuple[TokenSequence, Segment]]:
    """The sequences of `examples`, at least one, in the order of the row, each with what it adds to the row."""
    laid_out: list[tuple[TokenSequence, Segment]] = []
    before: tuple[int, ...] = ()
    segment = Segment(slice(0, 0))
    for sequence in sorted((s for e in examples for s in e.sequences()), key=_ids):
        ids = _ids(sequence)
        # Each sequence has a segment: the last token of one that stands there already is added again.
        shared = min(_common_beginning(before, ids), len(ids) - 1)
        first = segment.queries.stop
        segment = Segment(slice(first, first + len(ids) - shared), segment.beginning(shared))
        laid_out.append((sequence, segment))
        before = ids
    return laid_out


def pack(examples: Iterable[Any]) -> Packed:
    """The row of `examples`."""
    token_ids: list[int] = []
    position_ids: list[int] = []
    predictors: list[int] = []
    laid_out = lay_out(examples)
    for sequence, segment in laid_out:
        ids, own = _ids(sequence), segment.queries.stop - segment.queries.start
        token_ids += ids[-own:]
        position_ids += range(len(ids) - own, len(ids))
        # What the model only reads gives no log-probabilities.
        predictors += segment.places()[len(ids) - len(sequence.scored_ids) - 1 : -1]
    return Packed(
        tuple(sequence for sequence, _ in laid_out),
        torch.tensor(token_ids),
        torch.tensor(position_ids),
        tuple(segment for _, segment in laid_out),
        torch.tensor(predictors),
        torch.tensor([i for sequence, _ in laid_out for i in sequence.scored_ids]),
    )


def _ids(sequence: TokenSequence) -> tuple[int, ...]:
    return sequence.prompt_ids + sequence.target_ids


def _common_beginning(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Number of tokens that both begin with."""
    differences = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differences, min(len(one), len(other)))
