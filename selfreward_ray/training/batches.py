"""Which examples go into which forward pass of which rank. Pure: lengths and a seed in, a plan out.

The plan is the same whatever the number of ranks: a step's batch is fixed by the seed, and only then
dealt out. Batches hold examples of similar length, so that little is padding.
"""

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from selfreward_ray.recipe import Optimization

E = TypeVar("E")

# Examples are sorted by length inside windows of this many batches: long enough that lengths are alike,
# short enough that a batch stays a random draw.
_WINDOW = 8
# Target tokens whose logits are alive at a time: 1,024 × 128k entries in float32 are half a GiB.
TARGETS_PER_CHUNK = 1024


@dataclass(frozen=True)
class MicroBatch(Generic[E]):
    """Examples of one forward pass. A blank one takes part in the collectives but not in the loss."""

    examples: tuple[E, ...]
    head_chunks: int
    """Parts in which the output head is applied. Equal on all ranks: ZeRO-3 gathers the head anew for each part,
    and ranks that gather unequally often stop each other."""
    blank: bool = False


@dataclass(frozen=True)
class Batch(Generic[E]):
    """One optimizer step: `ranks[r]` are rank r's micro-batches, equally many on each rank."""

    ranks: tuple[tuple[MicroBatch[E], ...], ...]

    def examples(self) -> list[E]:
        """The step's examples over all ranks, blanks left out."""
        return [e for rank in self.ranks for micro in rank if not micro.blank for e in micro.examples]


def length_of(example: Any) -> int:
    """Tokens of the example's longest sequence: what it is padded by."""
    return max(len(s.prompt_ids) + len(s.target_ids) for s in example.sequences())


def accumulation_steps(optimization: Optimization, ranks: int) -> int:
    """Micro-batches of one rank in one optimizer step."""
    return -(-optimization.batch_size // (ranks * optimization.micro_batch_size))


def plan_batches(examples: list[E], optimization: Optimization, ranks: int, seed: int) -> list[Batch[E]]:
    """All steps of all epochs. Every example is in each epoch exactly once."""
    rng = random.Random(seed)
    steps: list[Batch[E]] = []
    for _ in range(optimization.epochs):
        order = rng.sample(examples, len(examples))
        window = _WINDOW * optimization.batch_size
        ordered = [e for i in range(0, len(order), window) for e in sorted(order[i : i + window], key=length_of)]
        size = optimization.batch_size
        epoch = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        rng.shuffle(epoch)
        steps.extend(_deal(batch, optimization, ranks) for batch in epoch)
    return steps


def _deal(batch: list[E], optimization: Optimization, ranks: int) -> Batch[E]:
    micro_batches = accumulation_steps(optimization, ranks)
    # Neighbours in length share a forward pass; the passes are dealt out like cards, so that ranks wait little.
    passes = ranks * micro_batches
    ordered = sorted(batch, key=length_of)
    cuts = [round(i * len(ordered) / passes) for i in range(passes + 1)]
    dealt = [(tuple(ordered[a:b]) or (ordered[0],), a == b) for a, b in pairwise(cuts)]
    rounds = [dealt[i : i + ranks] for i in range(0, passes, ranks)]
    micros = [[MicroBatch(examples, _head_chunks(beside), blank) for examples, blank in beside] for beside in rounds]
    return Batch(tuple(zip(*micros, strict=True)))


def _head_chunks(beside: list[tuple[tuple[Any, ...], bool]]) -> int:
    """Parts for the head in the passes that the ranks run beside each other: as many as the largest of them needs."""
    most = max(sum(len(s.target_ids) for e in examples for s in e.sequences()) for examples, _ in beside)
    return -(-most // TARGETS_PER_CHUNK)
