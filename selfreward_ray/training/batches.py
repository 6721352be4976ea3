"""Which examples go into which forward pass of which rank. Pure: lengths and a seed in, a plan out.

A step's batch is fixed by the seed alone, and only then dealt out: the same whatever the number of ranks.
"""

import random
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

from selfreward_ray.recipe.training import Optimization
from selfreward_ray.training.packing import lay_out, packed_length

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
    passes = [MicroBatch(tuple(examples)) for examples in _passes(batch, budget, ranks)]
    passes.sort(key=lambda micro: packed_length(micro.examples), reverse=True)
    # The shortest example stands in where there are fewer examples than ranks: it costs the least.
    shortest = min(batch, key=lambda example: packed_length([example]))
    passes += [MicroBatch((shortest,), blank=True)] * (-len(passes) % ranks)
    rounds = [passes[i : i + ranks] for i in range(0, len(passes), ranks)]
    return Batch(tuple(zip(*rounds, strict=True)))


def _passes(batch: list[E], budget: int, ranks: int) -> list[list[E]]:
    """For the smallest multiple of `ranks`, passes that hold at most `budget` tokens each, or a single longer
    example."""
    tokens = _tokens(batch)
    # What is longer than the budget fills a pass of its own.
    needed = _count(*tokens) - sum(max(0, _count(one) - budget) for one in tokens)
    rounds = max(1, -(-needed // (budget * ranks)))
    while True:
        passes = _balanced(tokens, rounds * ranks, needed)
        if all(len(p) == 1 or _count(*(tokens[i] for i in p)) <= budget for p in passes):
            return [[batch[i] for i in p] for p in passes]
        rounds += 1


def _tokens(batch: list[Any]) -> list[int]:
    """The tokens of each example as the bits of an integer, in which a token that examples share is the same bit.

    So a row of examples has as many tokens as the union of their bits, which takes a microsecond to count. (One more
    than it has, where a whole sequence begins another one and is there twice.)
    """
    of_sequence = {
        sequence.id: sum((1 << span.stop) - (1 << span.start) for span in segment.spans)
        for sequence, segment in lay_out(batch)
    }
    return [reduce(or_, (of_sequence[s.id] for s in example.sequences())) for example in batch]


def _count(*tokens: int) -> int:
    return reduce(or_, tokens).bit_count()


def _balanced(tokens: list[int], parts: int, needed: int) -> list[list[int]]:
    """Longest first, each example to the part that it makes least longer, of those that then hold no more than an even
    share of what is `needed`; if there is none, to the part that is then the shortest.

    No two parts differ by more than the longest example. Where nothing is shared, it is the greedy rule of Graham
    (1969). Parts that would be empty are left out.
    """
    filled: list[list[int]] = [[] for _ in range(parts)]
    rows = [0] * parts

    def cost(part: int, example: int) -> tuple[float, int, int]:
        before, after = _count(rows[part]), _count(rows[part], tokens[example])
        return max(after, needed / parts), after - before, after

    for example in sorted(range(len(tokens)), key=lambda i: _count(tokens[i]), reverse=True):
        part = min(range(parts), key=lambda part: cost(part, example))
        filled[part].append(example)
        rows[part] |= tokens[example]
    return [part for part in filled if part]
