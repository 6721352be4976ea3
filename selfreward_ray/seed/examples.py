"""Ranked sets → supervised rows: IFT from the best reply, EFT from verdicts that agree (paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import TYPE_CHECKING

from selfreward_ray.records import Dropped, RankedSet, SftExample

if TYPE_CHECKING:
    from selfreward_ray.judging.rubric import Rubric


def ift_example(ranked_set: RankedSet) -> SftExample:
    """The prompt with its best-ranked reply; of equally good ones the first."""
    best = min(ranked_set.replies, key=lambda reply: reply.rank)
    return SftExample(id=f"{best.id}/ift", kind="ift", prompt=ranked_set.prompt, target=best.text)


def agreeing(ranked_set: RankedSet, scores: Mapping[str, float]) -> bool:
    """Whether `scores`, by reply id, put the replies in the order in which people ranked them.

    Of every two scored replies with different ranks the better ranked must have the strictly greater
    score. Replies of equal rank may score anything, replies without a score are passed over. Where no
    two scored replies differ in rank nothing was agreed on, and the answer is False.
    """
    scored = [(reply.rank, scores[reply.id]) for reply in ranked_set.replies if reply.id in scores]
    ordered = [better > worse for (rank, better), (other, worse) in permutations(scored, 2) if rank < other]
    return bool(ordered) and all(ordered)


def eft_examples(ranked_set: RankedSet, rubric: Rubric) -> list[SftExample] | Dropped:
    """One example for each written verdict of the set: judge prompt → verdict.

    The set is kept whole or dropped whole: dropped when no verdict is written, when one can not be
    read, and when the scores disagree with the ranking (`agreeing`).
    """
    written = [(reply, reply.verdict) for reply in ranked_set.replies if reply.verdict is not None]
    if not written:
        return Dropped(ranked_set.id, "seed", "no reply has a written verdict")
    scores: dict[str, float] = {}
    for reply, verdict in written:
        score = rubric.read_score(verdict)
        if score is None:
            return Dropped(ranked_set.id, "seed", f"no score can be read from the verdict of {reply.id}")
        scores[reply.id] = score
    if not agreeing(ranked_set, scores):
        return Dropped(ranked_set.id, "seed", "the verdicts' scores do not agree with the ranking")
    return [
        SftExample(f"{reply.id}/eft", "eft", rubric.render(ranked_set.prompt, reply.text), verdict)
        for reply, verdict in written
    ]
