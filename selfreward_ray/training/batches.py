"""Which examples go into which forward pass of which rank. Pure: lengths and a seed in, a plan out.

A step's batch is fixed by the seed alone, and only then dealt out: the same whatever the number of ranks.
"""

import random
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from operator import or_
from typing import Any, Generic, TypeVar, overload

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


class Plan(Sequence[Batch[E]]):
    """All steps of all epochs. Every example is in each epoch exactly once.

    A step has as few passes of at most `micro_batch_tokens` as its examples allow, equally many on each rank. It is
    planned when it is asked for, and only its own examples are looked up: of each other one, four bytes are in memory.
    """

    def __init__(self, examples: Sequence[E], optimization: Optimization, ranks: int, seed: int) -> None:
        self._examples = examples
        self._optimization = optimization
        self._ranks = ranks
        self._seed = seed
        self._steps = -(-len(examples) // optimization.batch_size)
        self._begin()

    def __len__(self) -> int:
        return self._optimization.epochs * self._steps

    @overload
    def __getitem__(self, step: int) -> Batch[E]: ...

    @overload
    def __getitem__(self, step: slice) -> list[Batch[E]]: ...

    def __getitem__(self, step: int | slice) -> Batch[E] | list[Batch[E]]:
        if isinstance(step, slice):
            return [self[each] for each in range(len(self))[step]]
        epoch, place = divmod(range(len(self))[step], self._steps)  # raises IndexError at the end
        size = self._optimization.batch_size
        numbers = self._order_of(epoch)[place * size : (place + 1) * size]
        return _deal([self._examples[n] for n in numbers], self._optimization.micro_batch_tokens, self._ranks)

    def _begin(self) -> None:
        self._rng, self._epoch = random.Random(self._seed), -1
        self._order: array[int] = array("I")

    def _order_of(self, epoch: int) -> "array[int]":
        """The numbers of the examples in the order of `epoch`. Only one epoch's order is in memory."""
        if epoch < self._epoch:
            self._begin()
        while self._epoch < epoch:
            self._order = _shuffled(self._rng, len(self._examples))
            self._epoch += 1
        return self._order


def _shuffled(rng: random.Random, count: int) -> "array[int]":
    """The numbers below `count` in the order of ``rng.sample(range(count), count)``, which would make objects of
    them."""
    order = array("I", range(count))
    for left in range(count, 0, -1):
        place = rng.randrange(left)
        order[place], order[left - 1] = order[left - 1], order[place]
    order.reverse()
    return order


def plan_batches(examples: Sequence[E], optimization: Optimization, ranks: int, seed: int) -> Plan[E]:
    """The plan of a training on `ranks`: the same steps for the same `seed`, whatever the number of ranks."""
    return Plan(examples, optimization, ranks, seed)


def read_ahead(plan: Sequence[Batch[E]], steps: range | None = None) -> Iterator[tuple[int, Batch[E]]]:
    """The `steps` of `plan`, all by default, with their numbers. While one is in use, the next one is planned."""
    steps = range(len(plan)) if steps is None else steps
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(plan.__getitem__, step) for step in steps[:1]]
        for step, after in zip_longest(steps, steps[1:]):
            batch = coming.pop().result()
            if after is not None:
                coming.append(pool.submit(plan.__getitem__, after))
            yield step, batch


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
