"""Head-to-head comparison: match the replies of two models, and combine the verdicts of both orders
(paper, section 3.1)."""

from collections.abc import Iterable
from statistics import fmean
from typing import Literal

from selfreward_ray.records import Comparison, Contender, Dropped, ReplyPair, Verdict

TOO_FEW_VERDICTS = "too few valid verdicts in one of the orders"
TOO_LONG = "does not fit into the judge's context"
ALONE = {side: f"its prompt has a reply on the {side} only" for side in ("left", "right")}
TWICE = {side: f"its prompt has an earlier reply on the {side}" for side in ("left", "right")}


def match_replies(
    left: Iterable[tuple[str, Contender]], right: Iterable[tuple[str, Contender]]
) -> tuple[list[ReplyPair], list[Dropped]]:
    """Pair the replies of both sides by their prompts, in the order of `left`.

    Each item is a prompt, with its earlier messages as a judge is shown them, and a reply. The first reply to a prompt
    is taken on each side; further ones, and replies to prompts of one side only, are dropped. A dropped row has the id
    ``{side}/{reply id}``, a pair that of its left reply.
    """
    lefts, left_twice = _by_prompt("left", left)
    rights, right_twice = _by_prompt("right", right)
    pairs = [ReplyPair(f"left/{lefts[p].id}", p, lefts[p], rights[p]) for p in lefts if p in rights]
    return pairs, [*left_twice, *_alone("left", lefts, rights), *right_twice, *_alone("right", rights, lefts)]


def _by_prompt(side: str, replies: Iterable[tuple[str, Contender]]) -> tuple[dict[str, Contender], list[Dropped]]:
    first: dict[str, Contender] = {}
    dropped = [_drop(side, reply, TWICE) for prompt, reply in replies if first.setdefault(prompt, reply) is not reply]
    return first, dropped


def _alone(side: str, own: dict[str, Contender], others: dict[str, Contender]) -> list[Dropped]:
    return [_drop(side, reply, ALONE) for prompt, reply in own.items() if prompt not in others]


def _drop(side: str, reply: Contender, reasons: dict[str, str]) -> Dropped:
    return Dropped(f"{side}/{reply.id}", "compare", reasons[side])


def decide(
    pair: ReplyPair, left_first: tuple[Verdict, ...], right_first: tuple[Verdict, ...], min_valid: int
) -> Comparison | Dropped:
    """Combine the verdicts of both orders to a `Comparison`.

    Returns a `Dropped` row if one of the orders has fewer than `min_valid` valid verdicts. A score is 1 if the reply
    shown first is better, 0 if the second is. An order prefers the first reply if the mean of its valid scores is above
    0.5, the second if it is below, and neither at 0.5.
    """
    orders = [[v.score for v in verdicts if v.score is not None] for verdicts in (left_first, right_first)]
    if min(map(len, orders)) < min_valid:
        unasked = any(verdict.attempts == 0 for verdict in left_first + right_first)
        return Dropped(pair.id, "compare", TOO_LONG if unasked else TOO_FEW_VERDICTS)
    return Comparison(pair.id, pair, left_first, right_first, _preferred(*map(fmean, orders)))


def _preferred(left_first: float, right_first: float) -> Literal["left", "right", "first", "second", "neither"]:
    """The preferred reply, from each order's mean score (0 to 1) of the reply shown first."""
    match _place(left_first), _place(right_first):
        case "first", "second":
            return "left"
        case "second", "first":
            return "right"
        case "first", "first":
            return "first"
        case "second", "second":
            return "second"
    return "neither"


def _place(mean: float) -> str | None:
    return "first" if mean > 0.5 else "second" if mean < 0.5 else None
