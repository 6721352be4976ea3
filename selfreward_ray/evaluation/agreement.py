"""Agreement of a model's verdicts with human rankings (paper, section 3.1.3)."""

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
    """Agreement metrics: fractions from 0 to 1, correlations from -1 to 1; None if there is nothing to measure."""

    pairwise_accuracy: float | None
    """Fraction of pairs ranked correctly, over the pairs within a set that humans ranked differently and the model
    scored both. A pair with equal scores counts as wrong."""
    five_best: float | None
    """Fraction of the replies with the maximum score that humans ranked first."""
    exact_match: float | None
    """Fraction of sets whose order, ties included, is the human one, over the sets with different human ranks. A set
    with an unreadable verdict counts as wrong."""
    spearman: float | None
    """Spearman's rank correlation, averaged over the sets whose scored replies have different human ranks. A set with
    equal scores counts as 0: to leave it out would reward a judge that gives every reply the same score."""
    kendall: float | None
    """Kendall's tau-b, averaged in the same way."""
    pooled_spearman: float | None
    """Spearman's correlation of scores and human scores over all replies that have both; 0 if all scores are equal."""
    unreadable: float | None
    """Fraction of the verdicts that have no score."""
    verdicts: int
    """Number of verdicts."""


@dataclass(frozen=True)
class ScoreCount:
    """Number of replies with the human score `true` and the judge's score `given`; None is an unreadable verdict."""

    true: float | None
    given: float | None
    count: int


def score_counts(judged: Iterable[JudgedReply]) -> list[ScoreCount]:
    """Count replies by human score (in the demo world the true score) and judge's score, in ascending order, None
    last."""
    counts = Counter((reply.human_score, reply.verdict.score) for reply in judged)
    ordered = sorted(counts, key=lambda scores: [math.inf if score is None else score for score in scores])
    return [ScoreCount(true, given, counts[true, given]) for true, given in ordered]


def spearmans(judged: Iterable[JudgedReply]) -> dict[str, float]:
    """Spearman's rank correlation of each set, by set id. `Agreement.spearman` is their mean."""
    found = {name: _rank_correlation(stats.spearmanr, _scored(replies)) for name, replies in _by_set(judged).items()}
    return {name: value for name, value in found.items() if value is not None}


def agreement(judged: list[JudgedReply], max_score: float) -> Agreement:
    """Agreement of the verdicts on ranked sets. `max_score` is the rubric's maximum."""
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
    """(score, human rank) of the replies with a valid verdict."""
    return [(score, reply.rank) for reply in replies if (score := reply.verdict.score) is not None]


def _same_order(replies: list[JudgedReply]) -> bool:
    scored = _scored(replies)
    return len(scored) == len(replies) and _places([-score for score, _ in scored]) == _places([r for _, r in scored])


def _places(values: Iterable[float]) -> list[int]:
    values = list(values)
    order = sorted(set(values))
    return [order.index(value) for value in values]


def _rank_correlation(measure: Callable[..., Any], scored: list[tuple[float, int]]) -> float | None:
    # Rank 0 is the best: the sign is changed, so that agreement is positive.
    return _correlation(measure, [(score, -rank) for score, rank in scored])


def _correlation(measure: Callable[..., Any], points: list[tuple[float, float]]) -> float | None:
    """None if all human ranks are equal; 0 if only the model's scores are, where scipy returns NaN."""
    scores, worth = {score for score, _ in points}, {human for _, human in points}
    if len(worth) < 2:
        return None
    if len(scores) < 2:
        return 0.0
    return float(measure(*zip(*points, strict=True)).statistic)
