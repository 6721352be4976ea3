"""Rows with the same prompt as one ranked set: what pairs say together, or replies that were rated on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from selfreward_ray.seed.readers.exchanges import Exchange, Given
from selfreward_ray.seed.readers.reading import LeftOut

CONTRADICTS = "its rows contradict each other on the order of its replies"
NOT_COMPARED = "was not compared with the others of its set"


def merged(exchanges: Sequence[Exchange], by: Literal["pairs", "scores"]) -> Exchange:
    """One exchange of several with the same messages before the replies; equal texts are one reply.

    Raises `LeftOut` where the rows contradict each other.
    """
    replies = _by_scores(exchanges) if by == "scores" else _by_pairs(exchanges)
    return Exchange(exchanges[0].before, tuple(replies), exchanges[0].part)


def _by_scores(exchanges: Sequence[Exchange]) -> list[Given]:
    """Replies with the ranks and scores that their rows give; of a text with several scores their mean."""
    found: dict[str, list[Given]] = {}
    for reply in (reply for exchange in exchanges for reply in exchange.replies):
        found.setdefault(reply.text, []).append(reply)
    merged = []
    for same in found.values():
        if len({reply.rank for reply in same}) > 1:
            raise LeftOut(CONTRADICTS)
        scores = [reply.score for reply in same if reply.score is not None]
        merged.append(replace(same[0], score=sum(scores) / len(scores) if scores else None))
    return merged


@dataclass
class _Order:
    """Who is better than whom among numbered replies, of which some are the same."""

    same: list[int] = field(default_factory=list)
    better: list[tuple[int, int]] = field(default_factory=list)

    def find(self, number: int) -> int:
        while self.same[number] != number:
            number = self.same[number]
        return number

    def below(self) -> dict[int, set[int]]:
        """For each group of equally good replies, named by its first, all that it is better than, however told."""
        below: dict[int, set[int]] = {self.find(number): set() for number in range(len(self.same))}
        for one, other in self.better:
            below[self.find(one)].add(self.find(other))
        for between in below:
            for above in below.values():
                if between in above:
                    above |= below[between]
        if any(group in lower for group, lower in below.items()):
            raise LeftOut(CONTRADICTS)
        return below


def _by_pairs(exchanges: Sequence[Exchange]) -> list[Given]:
    """Replies in the order that the pairs have in common, in which equally good ones share a rank, and so do those of
    which nothing is known but that the same replies are better and worse.

    A reply that would get a place among others without having been compared with them has a fault instead: the fewest
    that leave an order for the rest, as far as one by one can find them.
    """
    if len(exchanges) == 1:
        return list(exchanges[0].replies)
    number: dict[str, int] = {}
    given: list[Given] = []
    order = _Order()
    for reply in (reply for exchange in exchanges for reply in exchange.replies):
        if reply.text not in number:
            number[reply.text] = len(given)
            order.same.append(len(given))
            given.append(reply)
        elif given[number[reply.text]].score is None:
            given[number[reply.text]] = replace(given[number[reply.text]], score=reply.score)
    for exchange in exchanges:
        _note(exchange.replies, number, order)
    ranks = _ranks(_largest_connected(order.below()))
    # Replies that are both bad have rank 1 in their row, and no row makes one of them a best one.
    worst = {
        order.find(number[reply.text]): least
        for exchange in exchanges
        if (least := min((one.rank for one in exchange.replies if one.rank is not None), default=0))
        for reply in exchange.replies
        if reply.rank == least
    }
    best = max((least - ranks[group] for group, least in worst.items() if group in ranks), default=0)
    return [
        replace(reply, rank=max(best, 0) + ranks[group]) if (group := order.find(i)) in ranks else _unplaced(reply)
        for i, reply in enumerate(given)
    ]


def _largest_connected(below: dict[int, set[int]]) -> dict[int, set[int]]:
    """The largest part of groups that pairs lead between, of equal ones the first: those of two parts were never
    compared. All, if no group is above another."""
    if not any(below.values()):
        return below
    parts: list[set[int]] = []
    for group, lower in below.items():
        joined = {group} | lower
        apart = []
        for part in parts:
            if part & joined:
                joined |= part
            else:
                apart.append(part)
        parts = [*apart, joined]
    largest = max(parts, key=lambda part: (len(part), -min(part)))
    return {group: below[group] for group in below if group in largest}


def _note(replies: Sequence[Given], number: dict[str, int], order: _Order) -> None:
    ranked = [(reply.rank, number[reply.text]) for reply in replies if reply.rank is not None]
    for i, (rank, one) in enumerate(ranked):
        for other_rank, other in ranked[i + 1 :]:
            if rank == other_rank:
                first, second = sorted((order.find(one), order.find(other)))
                order.same[second] = first
            else:
                order.better.append((one, other) if rank < other_rank else (other, one))


def _unplaced(reply: Given) -> Given:
    return replace(reply, rank=None, fault=NOT_COMPARED)


def _ranks(below: dict[int, set[int]]) -> dict[int, int]:
    """The rank of each group: how many steps lead down to it. Without those that have no place."""
    placed = list(below)
    while True:
        ranks: dict[int, int] = {}
        for group in sorted(placed, key=lambda group: -len(below[group])):  # who is above has more below it
            above = [ranks[other] for other in ranks if group in below[other]]
            ranks[group] = max(above, default=-1) + 1
        unknown = {
            group: sum(ranks[group] != ranks[other] and not _compared(group, other, below) for other in placed)
            for group in placed
        }
        worst = max(placed, key=lambda group: (unknown[group], group))
        if not unknown[worst]:
            return ranks
        placed.remove(worst)


def _compared(one: int, other: int, below: dict[int, set[int]]) -> bool:
    return other in below[one] or one in below[other]
