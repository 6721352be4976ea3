"""Which verdicts teach judging: those whose order agrees with the people's (EFT; paper, section 3.1.1)."""

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, JudgedSet, RankedSet, ReplyVerdicts, SftExample, Verdict
from selfreward_ray.thought import part_thought, without_thoughts

NO_VERDICT = "no verdict on any reply of its set could be read"
DISAGREES = "the set's verdicts do not agree with its ranking"
UNREADABLE = "no score in its verdict of the draw that agreed"
THINNED = "its score is the commonest, which is thinned"
BEYOND = "more EFT rows than were asked for"


@dataclass(frozen=True)
class EftRow:
    """A verdict that agreed, on its way to an EFT row; `id` is the reply's."""

    id: str
    set_id: str
    example: SftExample
    score: float


def agreeing(ranked: RankedSet, scores: Mapping[str, float]) -> bool:
    """Whether `scores`, by reply id, put the replies in the order in which people ranked them.

    Of every two scored replies with different ranks the better ranked must have the strictly greater
    score. Replies of equal rank may score anything, replies without a score are passed over. Where no
    two scored replies differ in rank nothing was agreed on, and the answer is False.
    """
    scored = [(reply.rank, scores[reply.id]) for reply in ranked.replies if reply.id in scores]
    ordered = [better > worse for (rank, better), (other, worse) in permutations(scored, 2) if rank < other]
    return bool(ordered) and all(ordered)


def agreeing_draw(judged: JudgedSet) -> dict[str, Verdict] | None:
    """One readable verdict for each reply of the draw that agrees with the ranking; None where none does.

    Draw j is the j-th verdict on every reply: one whole judgement of the set. Of several that agree the one with
    the most readable verdicts is taken, of those the first. Verdicts of different draws are never combined: with k
    verdicts each, n replies have k to the n combinations, and one would agree by chance.
    """
    draws = [
        {reply.id: v for reply, v in zip(judged.judged, verdicts, strict=True) if v.score is not None}
        for verdicts in zip(*(reply.verdicts for reply in judged.judged), strict=True)
    ]
    agreed = [d for d in draws if agreeing(judged.ranked, {i: v.score for i, v in d.items() if v.score is not None})]
    return max(agreed, key=len, default=None)


def eft_rows(judged: JudgedSet, rubric: Rubric) -> tuple[list[EftRow], list[Dropped]]:
    """Each reply of the set once: as a row, judge prompt → verdict, or dropped with the reason."""
    draw = agreeing_draw(judged)
    if draw is None:
        readable = any(v.score is not None for reply in judged.judged for v in reply.verdicts)
        reason = DISAGREES if readable else NO_VERDICT
        return [], [Dropped(reply.id, "eft", reason) for reply in judged.ranked.replies]
    rows: list[EftRow] = []
    dropped: list[Dropped] = []
    for reply in judged.ranked.replies:
        verdict = draw.get(reply.id)
        if verdict is None or verdict.score is None:
            dropped.append(Dropped(reply.id, "eft", UNREADABLE))
            continue
        question = rubric.render(judged.ranked.question, reply.text)
        example = SftExample(f"{reply.id}/eft", "eft", question, verdict.text, thought=verdict.thought)
        rows.append(EftRow(reply.id, judged.id, example, verdict.score))
    return rows, dropped


def written_verdicts(ranked: RankedSet, rubric: Rubric) -> JudgedSet:
    """The verdicts that stand in the source as the one draw of the set; a reply without one has an unreadable one."""
    judged = [
        ReplyVerdicts(reply.id, (_written(f"{reply.id}/v0", reply.verdict or "", rubric),)) for reply in ranked.replies
    ]
    return JudgedSet(ranked.id, ranked, tuple(judged))


def _written(row: str, said: str, rubric: Rubric) -> Verdict:
    found = part_thought(said)
    score = rubric.read_score(without_thoughts(found.reply)) if found.finished else None
    return Verdict(row, found.reply, score, attempts=1, thought=found.thought)


def thin(rows: list[EftRow], share: float, rng_seed: int) -> tuple[list[EftRow], list[Dropped]]:
    """`rows` without some of the commonest score, drawn by `rng_seed`, so that it is at most `share` of what is left.

    It is never thinned below the second commonest: then the share is what the others leave.
    """
    counts = Counter(row.score for row in rows).most_common(2)
    if len(counts) < 2:
        return rows, []
    (commonest, count), (_, second) = counts
    others = len(rows) - count
    part = Fraction(str(share))  # the decimal as it was written
    kept = min(count, max(second, math.floor(part * others / (1 - part))))
    of_commonest = [row for row in rows if row.score == commonest]
    gone = {row.id for row in random.Random(f"thin {rng_seed}").sample(of_commonest, count - kept)}
    left = [row for row in rows if row.id not in gone]
    return left, [Dropped(row.id, "eft", THINNED) for row in rows if row.id in gone]


def choose_eft(
    sets: list[JudgedSet], sizes: SeedData, rubric: Rubric, rng_seed: int
) -> tuple[list[EftRow], list[Dropped]]:
    """EFT rows of judged sets: what agrees, from as many sets, drawn by `rng_seed`, as leave ``sizes.eft`` rows when
    thinned. Each reply is a row or dropped."""
    agreed: list[list[EftRow]] = []
    dropped: list[Dropped] = []
    for judged in random.Random(f"eft {rng_seed}").sample(sets, len(sets)):
        rows, refused = eft_rows(judged, rubric)
        agreed.append(rows)
        dropped += refused

    def thinned(count: int) -> tuple[list[EftRow], list[Dropped]]:
        return thin([row for rows in agreed[:count] for row in rows], sizes.commonest_share, rng_seed)

    # More sets never leave fewer rows, so the number of sets can be found by halving.
    needed = bisect_left(range(len(agreed)), sizes.eft, key=lambda count: len(thinned(count)[0]))
    kept, refused = thinned(needed)
    beyond = [Dropped(row.id, "eft", BEYOND) for rows in agreed[needed:] for row in rows]
    return kept, dropped + refused + beyond
