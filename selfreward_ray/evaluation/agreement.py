"""How well a model's verdicts agree with human rankings (paper, section 3.1.3)."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from scipy import stats

from selfreward_ray.evaluation.intervals import mean
from selfreward_ray.records import JudgedReply


@dataclass(frozen=True)
class Agreement:
    """Shares from 0 to 1 and correlations from -1 to 1; None where there is nothing to measure."""

    pairwise_accuracy: float | None
    """Of the pairs of a set with different human ranks and both scored: those whose better reply is scored strictly
    higher. A tie of the model is wrong."""
    five_best: float | None
    """Of the replies given the maximum score: those that humans ranked first."""
    exact_match: float | None
    """Of the sets with different ranks: those whose whole order, ties included, is the human one. A set with an
    unreadable verdict has no whole order and is wrong."""
    spearman: float | None
    """Mean over the sets whose scored replies have different ranks. A set with one score for all counts as 0: such
    a judge tells nothing apart, and leaving the set out would reward it."""
    kendall: float | None
    """Kendall's tau-b, averaged as `spearman` is."""
    pooled_spearman: float | None
    """Spearman of score and human score over all replies that have both; 0 where the model's are all equal."""
    unreadable: float | None
    """Of the verdicts: those without a score."""
    verdicts: int


@dataclass(frozen=True)
class ScoreCount:
    """How many replies that are worth `true` points were given `given`; None stands for an unreadable verdict."""

    true: float | None
    given: float | None
    count: int


def score_counts(judged: Iterable[JudgedReply]) -> list[ScoreCount]:
    """The histogram of verdicts' scores by human (in the demo world true) scores, in ascending order, None last."""
    counts = Counter((reply.human_score, reply.verdict.score) for reply in judged)
    ordered = sorted(counts, key=lambda scores: [math.inf if score is None else score for score in scores])
    return [ScoreCount(true, given, counts[true, given]) for true, given in ordered]


def spearmans(judged: Iterable[JudgedReply]) -> dict[str, float]:
    """By set, what `Agreement.spearman` is the mean of."""
    found = {name: _rank_correlation(stats.spearmanr, _scored(replies)) for name, replies in _by_set(judged).items()}
    return {name: value for name, value in found.items() if value is not None}


def agreement(judged: list[JudgedReply], max_score: float) -> Agreement:
    """Agreement of the verdicts on one or more ranked sets; `max_score` is the rubric's."""
    sets = _by_set(judged)
    scored_sets = [_scored(replies) for replies in sets.values()]
    pairs = [pair for scored in scored_sets for pair in combinations(scored, 2) if pair[0][1] != pair[1][1]]
    top = [rank for scored in scored_sets for score, rank in scored if score == max_score]
    pooled = [(score, reply.human_score) for reply in judged if (score := reply.verdict.score) is not None]
    return Agreement(
        pairwise_accuracy=mean((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in pairs),
        five_best=mean(rank == 0 for rank in top),
        exact_match=mean(_same_order(replies) for replies in sets.values() if len({r.rank for r in replies}) > 1),
        spearman=mean(spearmans(judged).values()),
        kendall=mean(tau for s in scored_sets if (tau := _rank_correlation(stats.kendalltau, s)) is not None),
        pooled_spearman=_correlation(stats.spearmanr, [(score, human) for score, human in pooled if human is not None]),
        unreadable=mean(reply.verdict.score is None for reply in judged),
        verdicts=len(judged),
    )


def _by_set(judged: Iterable[JudgedReply]) -> dict[str, list[JudgedReply]]:
    sets: defaultdict[str, list[JudgedReply]] = defaultdict(list)
    for reply in judged:
        sets[reply.set_id].append(reply)
    return sets


def _scored(replies: list[JudgedReply]) -> list[tuple[float, int]]:
    """(score, rank) of the replies whose verdict could be read."""
    return [(score, reply.rank) for reply in replies if (score := reply.verdict.score) is not None]


def _same_order(replies: list[JudgedReply]) -> bool:
    scored = _scored(replies)
    return len(scored) == len(replies) and _places([-score for score, _ in scored]) == _places([r for _, r in scored])


def _places(values: Iterable[float]) -> list[int]:
    values = list(values)
    order = sorted(set(values))
    return [order.index(value) for value in values]


def _rank_correlation(measure: Callable[..., Any], scored: list[tuple[float, int]]) -> float | None:
    # Ranks count downwards: turned round, so that agreement is positive.
    return _correlation(measure, [(score, -rank) for score, rank in scored])


def _correlation(measure: Callable[..., Any], points: list[tuple[float, float]]) -> float | None:
    """None where the humans made no difference; 0 where only the model made none (scipy's NaN)."""
    scores, worth = {score for score, _ in points}, {human for _, human in points}
    if len(worth) < 2:
        return None
    if len(scores) < 2:
        return 0.0
    return float(measure(*zip(*points, strict=True)).statistic)
