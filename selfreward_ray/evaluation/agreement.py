"""Agreement of a judge's scores with human rankings (paper, section 3.1.3).

This is the only definition: the evaluate step, the report, the proof and `selfreward agreement` use it.

The unit is a set: the ranked replies to one prompt. Only sets whose replies people ranked differently are measured, so
that every judge is measured on the same sets and pairs. A reply without a readable score is never left out: its pairs
count as wrong, its set is not an exact match, and the set's correlations count as 0.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from selfreward_ray.evaluation.bootstrap import ratio_intervals
from selfreward_ray.evaluation.intervals import fraction, mean
from selfreward_ray.records import JudgedReply

RULE = (
    "Sets whose replies all have the same rank are left out. A pair with equal scores counts as wrong, and a set "
    "with equal scores has correlation 0. A reply without a readable score counts against the judge: its pairs are "
    "wrong, its set is no exact match and has correlation 0."
)
"""How ties and unreadable verdicts are counted, for captions."""

FIGURES = ("pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall")
"""The figures with intervals. Each is a ratio of two sums over sets."""

_CELLS = 1_000_000
"""Maximum number of pairs that are compared at once, which bounds the memory."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The human rank and the judge's score of a reply in the set `set_id`."""

    set_id: str
    rank: float
    """A lower rank is better; equal ranks are ties. Only the order within the set matters."""
    score: float | None
    """None if the judge's verdict is unreadable."""
    human_score: float | None = None


@dataclass(frozen=True)
class Agreement:
    """Agreement figures: fractions from 0 to 1, correlations from -1 to 1; None if there is nothing to measure."""

    pairwise_accuracy: float | None
    """Fraction of the pairs of differently ranked replies whose better one has the higher score."""
    five_best: float | None
    """Fraction of the replies with the maximum score that have the best human rank of their set (5-best)."""
    exact_match: float | None
    """Fraction of the sets whose order by score, ties included, is the human one."""
    spearman: float | None
    """Spearman's rank correlation of a set's scores with its ranks, averaged over sets."""
    kendall: float | None
    """Kendall's tau-b, averaged in the same way."""
    pooled_spearman: float | None
    """Spearman's correlation of scores and human scores over all replies that have both; 0 if all scores are equal. It
    is over replies and not over sets, so replies without a score are left out."""
    tied: float | None
    """Fraction of the pairs of differently ranked replies that have equal scores."""
    unreadable: float | None
    """Fraction of all replies that have no score."""
    verdicts: int
    """Number of verdicts that the scores were made of."""
    sets: int
    """Number of measured sets."""
    sets_left_out: int
    """Number of sets whose replies all have the same human rank."""
    counts: dict[str, int]
    """What each of `FIGURES` is a fraction or a mean of: pairs, replies with the maximum score, or sets."""
    intervals: dict[str, list[float] | None]
    """The 95 % interval of each of `FIGURES` over sets, see `bootstrap`; None if fewer than two sets count for it."""


@dataclass(frozen=True)
class ScoreCount:
    """Number of replies with the human score `true` and the judge's score `given`; None is an unreadable verdict."""

    true: float | None
    given: float | None
    count: int


def first_verdicts(judged: Iterable[JudgedReply]) -> list[Judgement]:
    """Scores of one verdict per reply, as the paper evaluates a judge: the first of each reply."""
    return [Judgement(reply.set_id, reply.rank, reply.verdicts[0].score, reply.human_score) for reply in judged]


def mean_verdicts(judged: Iterable[JudgedReply], min_valid: int) -> list[Judgement]:
    """Scores averaged over all verdicts of a reply, as the loop scores candidates (paper, section 2.2).

    A reply has no score if fewer than `min_valid` of its verdicts are readable, or than all if it has fewer.
    """
    return [Judgement(r.set_id, r.rank, _mean_score(r, min_valid), r.human_score) for r in judged]


def _mean_score(reply: JudgedReply, min_valid: int) -> float | None:
    scores = [verdict.score for verdict in reply.verdicts if verdict.score is not None]
    return fmean(scores) if len(scores) >= min(min_valid, len(reply.verdicts)) else None


def agreement_metrics(judged: Sequence[JudgedReply], max_score: float, min_valid: int) -> dict[str, Any]:
    """The manifest's metrics: `agreement` with one verdict per reply, and `agreement_of_means` with all of them.

    `agreement_of_means` is None if replies have one verdict. `max_score` is the rubric's maximum.
    """
    asked = sum(len(reply.verdicts) for reply in judged)
    of_means = agreement(mean_verdicts(judged, min_valid), max_score, asked) if asked > len(judged) else None
    return {
        "agreement": asdict(agreement(first_verdicts(judged), max_score)),
        "agreement_of_means": None if of_means is None else asdict(of_means),
    }


def score_counts(judged: Iterable[Judgement]) -> list[ScoreCount]:
    """Count replies by human score (in the demo world the true score) and judge's score, in ascending order, None
    last."""
    counts = Counter((reply.human_score, reply.score) for reply in judged)
    ordered = sorted(counts, key=lambda scores: [math.inf if score is None else score for score in scores])
    return [ScoreCount(true, given, counts[true, given]) for true, given in ordered]


def spearmans(judged: Iterable[Judgement]) -> dict[str, float]:
    """Spearman's rank correlation of each measured set, by set id. `Agreement.spearman` is their mean."""
    return {name: correlation for name, (correlation, _) in _sums_of("spearman", judged).items()}


def pair_counts(judged: Iterable[Judgement]) -> dict[str, tuple[int, int]]:
    """The pairs of each measured set that are ranked correctly, and all of them, by set id. `pairwise_accuracy` is the
    ratio of their sums."""
    found = _sums_of("pairwise_accuracy", judged)
    return {name: (int(right), int(pairs)) for name, (right, pairs) in found.items()}


def agreement(judged: Sequence[Judgement], max_score: float, verdicts: int | None = None) -> Agreement:
    """Agreement of the scores of ranked replies with their ranks.

    `max_score` is the best score that the judge can give. `verdicts` is the number of verdicts behind the scores, by
    default one per reply.
    """
    sets = list(_by_set(judged).values())
    _, sums = _sums_by_set(sets, max_score)
    totals = sums.sum(axis=0)
    of_sets, (tied, pairs) = totals[:-1], totals[-1]
    values = {name: fraction(*map(float, total)) for name, total in zip(FIGURES, of_sets, strict=True)}
    return Agreement(
        **values,
        pooled_spearman=_pooled(judged),
        tied=fraction(float(tied), float(pairs)),
        unreadable=mean(reply.score is None for reply in judged),
        verdicts=len(judged) if verdicts is None else verdicts,
        sets=len(sums),
        sets_left_out=len(sets) - len(sums),
        counts={name: int(count) for name, (_, count) in zip(FIGURES, of_sets, strict=True)},
        intervals=dict(zip(FIGURES, ratio_intervals(sums[:, :-1]), strict=True)),
    )


def _sums_of(figure: str, judged: Iterable[Judgement]) -> dict[str, tuple[float, float]]:
    """What each measured set adds to the numerator and the denominator of `figure`, by set id. Not for 5-best, which
    needs the maximum score."""
    sets = _by_set(judged)
    measured, sums = _sums_by_set(list(sets.values()), max_score=math.inf)
    names, column = list(sets), FIGURES.index(figure)
    return {
        names[place]: (float(row[column, 0]), float(row[column, 1])) for place, row in zip(measured, sums, strict=True)
    }


def _by_set(judged: Iterable[Judgement]) -> dict[str, list[Judgement]]:
    sets: defaultdict[str, list[Judgement]] = defaultdict(list)
    for reply in judged:
        sets[reply.set_id].append(reply)
    return sets


def _sums_by_set(sets: Sequence[list[Judgement]], max_score: float) -> tuple[list[int], Floats]:
    """What each set adds to the numerators and denominators of `FIGURES` and of the share of tied pairs.

    Returns the places of the measured sets in `sets`, and an array of shape (measured sets, figures + 1, 2). Sets of
    the same size are computed together.
    """
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for place, replies in enumerate(sets):
        by_size[len(replies)].append(place)
    places: list[int] = []
    sums = [np.empty((0, len(FIGURES) + 1, 2))]
    for size, found in by_size.items():
        for part in _parts(found, max(1, _CELLS // size**2)):
            ranks = np.array([[reply.rank for reply in sets[place]] for place in part], dtype=float)
            scores = np.array([[reply.score for reply in sets[place]] for place in part], dtype=float)  # None: NaN
            measured = ranks.min(axis=1) < ranks.max(axis=1)
            places += np.array(part)[measured].tolist()
            sums.append(_sums(ranks[measured], scores[measured], max_score))
    return places, np.concatenate(sums)


def _parts(places: list[int], count: int) -> Iterator[list[int]]:
    return (places[start : start + count] for start in range(0, len(places), count))


def _sums(ranks: Floats, scores: Floats, max_score: float) -> Floats:
    """`_sums_by_set` for sets of n replies with different ranks, from arrays of shape (sets, n). NaN is no score."""
    human = np.sign(ranks[:, None, :] - ranks[:, :, None])  # 1 where the first reply of a pair is the better one
    judge = np.sign(scores[:, :, None] - scores[:, None, :])  # NaN where one of the two has no score
    better = human > 0
    top, first = scores == max_score, ranks == ranks.min(axis=1, keepdims=True)
    one = np.ones(len(ranks))
    pairs = better.sum((1, 2))
    columns = [
        ((better & (judge > 0)).sum((1, 2)), pairs),
        ((top & first).sum(1), top.sum(1)),
        ((human == judge).all((1, 2)), one),
        # A sum of signs is a rank, up to a constant and a factor: average ranks, centred on 0.
        (_correlations(human.sum(2), judge.sum(2)), one),
        (_correlations(_flat(human), _flat(judge)), one),
        ((better & (judge == 0)).sum((1, 2)), pairs),
    ]
    return np.array(columns, dtype=float).transpose(2, 0, 1)


def _flat(signs: Floats) -> Floats:
    sets, size, _ = signs.shape
    return signs.reshape(sets, size**2)


def _correlations(human: Floats, judge: Floats) -> Floats:
    """Correlation of each row of two centred arrays; 0 where `judge` is constant or has a NaN."""
    norms = np.sqrt((human**2).sum(1) * (judge**2).sum(1))
    measured = norms > 0  # not where it is NaN
    products = (human * judge).sum(1)
    found = np.zeros(len(norms))
    np.divide(products, norms, out=found, where=measured)
    return found


def _pooled(judged: Iterable[Judgement]) -> float | None:
    points = [(reply.score, reply.human_score) for reply in judged]
    both = [(score, human) for score, human in points if score is not None and human is not None]
    if len({human for _, human in both}) < 2:
        return None
    if len({score for score, _ in both}) < 2:
        return 0.0  # scipy returns NaN
    return float(stats.spearmanr(*zip(*both, strict=True)).statistic)
