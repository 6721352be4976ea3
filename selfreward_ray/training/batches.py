"""Which examples go into which forward pass of which rank. Pure: lengths and a seed in, a plan out.

A step's batch is fixed by the seed alone, and only then dealt out: the same whatever the number of ranks.
"""

import heapq
import random
from dataclasses import dataclass
from typing import Generic, TypeVar

from selfreward_ray.recipe.training import Optimization
from selfreward_ray.training.packing import packed_length

E = TypeVar("E")


@dataclass(frozen=True)
class MicroBatch(Generic[E]):
    """Examples of one forward pass. A blank one takes part in the collectives but not in the loss."""

    examples: tuple[E, ...]
    blank: bool = False


@dataclass(frozen=True)
class Batch(Generic[E]):
    """One optimizer step: `ranks[r]` are rank r's micro-batches, equally many on each rank."""

    ranks: tuple[tuple[MicroBatch[E], ...], ...]

    def examples(self) -> list[E]:
        """The step's examples over all ranks, blanks left out."""
        return [e for rank in self.ranks for micro in rank if not micro.blank for e in micro.examples]


def plan_batches(examples: list[E], optimization: Optimization, ranks: int, seed: int) -> list[Batch[E]]:
    """All steps of all epochs. Every example is in each epoch exactly once.

    A step has as few passes of at most `micro_batch_tokens` as its examples allow, equally many on each rank.
    """
    rng = random.Random(seed)
    steps: list[Batch[E]] = []
    for _ in range(optimization.epochs):
        order = rng.sample(examples, len(examples))
        size = optimization.batch_size
        steps.extend(
            _deal(order[i : i + size], optimization.micro_batch_tokens, ranks) for i in range(0, len(order), size)
        )
    return steps


def _deal(batch: list[E], budget: int, ranks: int) -> Batch[E]:
    """As few passes as the budget allows; those of similar length run beside each other, so that ranks wait little."""
    # The shortest example stands in where there are fewer examples than ranks: it costs the least.
    shortest = min(batch, key=packed_length)
    passes = [MicroBatch(tuple(part or [shortest]), blank=not part) for part in _passes(batch, budget, ranks)]
    passes.sort(key=lambda micro: sum(map(packed_length, micro.examples)), reverse=True)
    rounds = [passes[i : i + ranks] for i in range(0, len(passes), ranks)]
    return Batch(tuple(zip(*rounds, strict=True)))


def _passes(batch: list[E], budget: int, ranks: int) -> list[list[E]]:
    """The smallest multiple of `ranks` of passes that hold at most `budget` tokens each, or a single longer example."""
    lengths = [packed_length(e) for e in batch]
    rounds = max(1, -(-sum(min(n, budget) for n in lengths) // (budget * ranks)))
    while True:
        passes = _balanced(batch, rounds * ranks)
        if all(len(p) <= 1 or sum(map(packed_length, p)) <= budget for p in passes):
            return passes
        rounds += 1


def _balanced(batch: list[E], parts: int) -> list[list[E]]:
    """Longest first, each to the part that holds least: no two parts differ by more than the longest example.

    The greedy rule of Graham (1969). Parts stay empty only where there are more of them than examples.
    """
    filled: list[list[E]] = [[] for _ in range(parts)]
    loads = [(0, part) for part in range(parts)]
    for example in sorted(batch, key=packed_length, reverse=True):
        load, part = heapq.heappop(loads)
        filled[part].append(example)
        heapq.heappush(loads, (load + packed_length(example), part))
    return filled
