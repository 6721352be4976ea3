"""Assigns ranked sets to IFT, EFT or held-out, and makes the IFT rows (paper, section 3.1.1)."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedReply, RankedSet, SftExample

SAME_PROMPT = "same prompt as an earlier one"
RANKED_TOO_LOW = "no reply is ranked well enough for IFT, and its ranks cannot teach judging"
ELSEWHERE = "its conversation serves another end"
BEYOND = "more sets than were asked for"

_Use = Callable[[RankedSet], bool]


@dataclass(frozen=True)
class SeedSets:
    """Ranked sets by purpose: no prompt (after the same turns) and no conversation stands in two of the four."""

    ift: list[RankedSet]
    eft: list[RankedSet]
    held_out: list[RankedSet]
    dropped: list[Dropped]
    validation: list[RankedSet] = field(default_factory=list)
    """For the choice of a checkpoint, by their prompts alone. Empty if ``SeedData.validation`` is 0."""


def best_reply(ranked: RankedSet) -> RankedReply:
    """The best-ranked reply; of equally good ones the first."""
    return min(ranked.replies, key=lambda reply: reply.rank)


def ift_example(ranked: RankedSet) -> SftExample:
    """The prompt, after what was said before it, with its best-ranked reply."""
    best = best_reply(ranked)
    return SftExample(f"{best.id}/ift", "ift", ranked.prompt, best.text, ranked.history, best.thought, ranked.tool_use)


def divide(sets: list[RankedSet], sizes: SeedData, rng_seed: int) -> SeedSets:
    """`sets`, conversation by conversation, shuffled and dealt out; `rng_seed` fixes the deal.

    Held out are conversations with `sizes.held_out` sets that can measure a judge, but at most a fifth of the
    conversations. Then `sizes.validation` sets without earlier messages are taken for validation, but at most a tenth
    of the conversations. IFT takes `sizes.ift` sets of the others, those that cannot teach judging first, and leaves
    EFT the sets it is sure to need: one for two rows, but at most half of those that can. EFT has of the sets that are
    left and can one for each row. Each set serves one end or is dropped with its reason.
    """
    dealer = _Dealer(sizes)
    conversations = dealer.conversations(sets)
    shuffled = random.Random(rng_seed).sample(conversations, len(conversations))
    shuffled, held_out = dealer.take(shuffled, sizes.held_out, dealer.measures, most=len(shuffled) // 5)
    most = len(conversations) // 10
    shuffled, validation = dealer.take(shuffled, sizes.validation, dealer.opens, most=most)
    # Sorting keeps the shuffled order of equals: what only IFT can use comes first.
    for_ift_first = sorted(shuffled, key=lambda group: any(map(dealer.teaches, group)))
    teachable = sum(dealer.teaches(s) for group in shuffled for s in group)
    reserved = min(math.ceil(sizes.eft / 2), teachable // 2)
    kept_back, free = _reserve(for_ift_first, reserved, dealer.teaches)
    rest, ift = dealer.take(free, sizes.ift, dealer.instructs)
    _, eft = dealer.take([*kept_back, *rest], sizes.eft, dealer.teaches)
    serving = {s.id for s in [*ift, *eft, *held_out, *validation]}
    for group in conversations:
        taken = any(s.id in serving for s in group)
        unused = [s for s in group if s.id not in serving]
        dealer.dropped += [Dropped(s.id, "seed", dealer.why_unused(s, taken)) for s in unused]
    return SeedSets(ift, eft, held_out, dealer.dropped, validation)


class _Dealer:
    def __init__(self, sizes: SeedData) -> None:
        self._sizes = sizes
        self.dropped: list[Dropped] = []

    def instructs(self, ranked: RankedSet) -> bool:
        return best_reply(ranked).rank <= self._sizes.minimum_rank

    def opens(self, ranked: RankedSet) -> bool:
        return not ranked.history and ranked.tool_use is None

    def measures(self, ranked: RankedSet) -> bool:
        return len({reply.rank for reply in ranked.replies}) > 1

    def teaches(self, ranked: RankedSet) -> bool:
        written = self._sizes.verdicts != "written" or any(reply.verdict is not None for reply in ranked.replies)
        return written and self.measures(ranked)

    def why_unused(self, ranked: RankedSet, conversation_taken: bool) -> str:
        if not self.instructs(ranked) and not self.teaches(ranked):
            return RANKED_TOO_LOW
        return ELSEWHERE if conversation_taken else BEYOND

    def conversations(self, sets: list[RankedSet]) -> list[list[RankedSet]]:
        """Sets of one conversation together; of sets with the same prompt only the first."""
        groups: dict[str, list[RankedSet]] = {}
        met: dict[str, str] = {}
        for ranked in sets:
            own = ranked.conversation or ranked.id
            first = met.setdefault(ranked.question, ranked.id)
            # What follows a tool's result answers the same prompt as the call before it.
            if first != ranked.id and not (ranked.tool_use and first.startswith(f"{own}/")):
                self.dropped.append(Dropped(ranked.id, "seed", SAME_PROMPT))
                continue
            groups.setdefault(own, []).append(ranked)
        return list(groups.values())

    def take(
        self, groups: list[list[RankedSet]], wanted: int, use: _Use, most: int | None = None
    ) -> tuple[list[list[RankedSet]], list[RankedSet]]:
        """Whole groups until `wanted` of their sets are of use, but `most` groups; also the groups that are left."""
        left: list[list[RankedSet]] = []
        taken: list[RankedSet] = []
        groups_taken = 0
        for group in groups:
            useful = [s for s in group if use(s)]
            if useful and len(taken) < wanted and groups_taken != most:
                taken += useful[: wanted - len(taken)]
                groups_taken += 1
            else:
                left.append(group)
        return left, taken


def _reserve(
    groups: list[list[RankedSet]], wanted: int, use: _Use
) -> tuple[list[list[RankedSet]], list[list[RankedSet]]]:
    """The last groups, which hold `wanted` sets of use but are at most half of all, and the groups before them."""
    held, cut = 0, len(groups)
    while held < wanted and cut > (len(groups) + 1) // 2:
        cut -= 1
        held += sum(map(use, groups[cut]))
    return groups[cut:], groups[:cut]
