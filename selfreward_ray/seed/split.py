"""Which ranked set serves which end: IFT, EFT or held out (paper, section 2.1)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfreward_ray.recipe import Seed
from selfreward_ray.records import Dropped, RankedSet, SftExample
from selfreward_ray.seed.errors import SeedError
from selfreward_ray.seed.examples import eft_examples, ift_example

if TYPE_CHECKING:
    from selfreward_ray.judging.rubric import Rubric


@dataclass(frozen=True)
class SeedSets:
    """Ranked sets by purpose; no prompt text stands in two of the three."""

    ift: list[RankedSet]
    eft: list[RankedSet]
    held_out: list[RankedSet]
    dropped: list[Dropped]


@dataclass(frozen=True)
class SeedSplit:
    """What the seed step gives: rows to train M1 on, sets to measure with, and what was given up."""

    examples: list[SftExample]
    held_out: list[RankedSet]
    dropped: list[Dropped]


def divide(sets: list[RankedSet], sizes: Seed, rng_seed: int) -> SeedSets:
    """The sets of a file, shuffled and dealt out; `rng_seed` fixes the deal.

    Held out are `sizes.held_out` sets, but at most a fifth of all, those with different ranks first.
    IFT takes `sizes.ift` of the rest, those without verdicts first, and leaves EFT the sets it is sure
    to need: one for two rows, but at most half of those with verdicts. EFT gets every set with verdicts
    that is left. A set whose prompt was met before is dropped.
    """
    shuffled = random.Random(rng_seed).sample(sets, len(sets))
    by_prompt: dict[str, RankedSet] = {}
    repeated = [s for s in shuffled if by_prompt.setdefault(s.prompt, s) is not s]
    # Equal ranks say nothing about a judge. The sort is stable, so each half stays shuffled.
    ordered = sorted(by_prompt.values(), key=_all_tied)
    fifth = min(sizes.held_out, len(ordered) // 5)
    held_out, rest = ordered[:fifth], ordered[fifth:]
    silent, judged = [s for s in rest if not _has_verdict(s)], [s for s in rest if _has_verdict(s)]
    reserved = min(math.ceil(sizes.eft / 2), len(judged) // 2)
    pool = silent + judged[reserved:]
    return SeedSets(
        ift=pool[: sizes.ift],
        eft=judged[:reserved] + [s for s in pool[sizes.ift :] if _has_verdict(s)],
        held_out=held_out,
        dropped=[Dropped(s.id, "seed", f"same prompt as {by_prompt[s.prompt].id}") for s in repeated],
    )


def split_seed(sets: SeedSets, sizes: Seed, rubric: Rubric) -> SeedSplit:
    """Rows of the sets: one IFT row a set, and EFT rows, whole sets at a time, until there are `sizes.eft`.

    Sets that EFT no longer needs are not dropped: nobody asked for them. Raises `SeedError` when there
    is no IFT row, or no EFT row though some are asked for.
    """
    ift = [ift_example(s) for s in sets.ift]
    if not ift:
        raise SeedError("the seed gives no IFT row; give more ranked sets, or raise seed_data.ift above 0")
    eft: list[SftExample] = []
    dropped = list(sets.dropped)
    for ranked_set in sets.eft:
        if len(eft) >= sizes.eft:
            break
        made = eft_examples(ranked_set, rubric)
        if isinstance(made, Dropped):
            dropped.append(made)
        else:
            eft.extend(made)
    if sizes.eft and not eft:
        raise SeedError(
            "the seed gives no EFT row, so nothing would teach the model to judge; give replies a written verdict "
            "that agrees with their ranks, or set seed_data.eft to 0"
        )
    return SeedSplit(examples=ift + eft, held_out=sets.held_out, dropped=dropped)


def _has_verdict(ranked_set: RankedSet) -> bool:
    return any(reply.verdict is not None for reply in ranked_set.replies)


def _all_tied(ranked_set: RankedSet) -> bool:
    return len({reply.rank for reply in ranked_set.replies}) == 1
