"""Ranked sets → instruction rows: the best reply of a prompt (IFT; paper, section 3.1.1)."""

from selfreward_ray.records import RankedReply, RankedSet, SftExample


def best_reply(ranked: RankedSet) -> RankedReply:
    """The best-ranked reply; of equally good ones the first."""
    return min(ranked.replies, key=lambda reply: reply.rank)


def ift_example(ranked: RankedSet) -> SftExample:
    """The prompt, after what was said before it, with its best-ranked reply."""
    best = best_reply(ranked)
    return SftExample(f"{best.id}/ift", "ift", ranked.prompt, best.text, ranked.history)
