"""Agreement metrics against numbers computed by hand."""

import pytest

from selfreward_ray.evaluation.agreement import Agreement, ScoreCount, agreement, score_counts, spearmans
from selfreward_ray.records import JudgedReply, Verdict

Reply = tuple[int, float | None]


def judged(**sets: list[Reply]) -> list[JudgedReply]:
    return [
        JudgedReply(f"{name}/r{i}", name, rank, None, Verdict(f"{name}/r{i}/v0", "", score, 1))
        for name, replies in sets.items()
        for i, (rank, score) in enumerate(replies)
    ]


def scored(*points: tuple[float | None, float | None]) -> list[JudgedReply]:
    return [JudgedReply(f"r{i}", "s", 0, human, Verdict("v", "", s, 1)) for i, (s, human) in enumerate(points)]


def pooled(*points: tuple[float | None, float | None]) -> float | None:
    return agreement(scored(*points), 5).pooled_spearman


def test_figures_by_hand() -> None:
    """(rank, score) of five sets:

    a: (0,5) (1,3) (2,4): pairs right, right, wrong; Spearman 1 - 6·(0+1+1)/(3·8) = 1/2; Kendall (2-1)/3
    b: (0,5) (1,5): the tie is wrong; both correlations 0
    c: (0,4) (1,2) (1,-): one pair, right; both correlations 1; no whole order
    d: (0,3) (1,1): right; 1; the only exact match
    e: (0,5) (0,2): ranks all equal, so only its 5 counts

    Pairs 4 of 6. Fives: a, b and e of a, b, b and e. Exact 1 of 4. Spearman (1/2+0+1+1)/4, Kendall (1/3+0+1+1)/4.
    """
    replies = judged(
        a=[(0, 5), (1, 3), (2, 4)],
        b=[(0, 5), (1, 5)],
        c=[(0, 4), (1, 2), (1, None)],
        d=[(0, 3), (1, 1)],
        e=[(0, 5), (0, 2)],
    )
    figures = agreement(replies, max_score=5)
    assert figures.pairwise_accuracy == pytest.approx(4 / 6)
    assert figures.five_best == pytest.approx(3 / 4)
    assert figures.exact_match == pytest.approx(1 / 4)
    assert figures.spearman == pytest.approx(0.625)
    assert spearmans(replies) == pytest.approx({"a": 0.5, "b": 0, "c": 1, "d": 1})
    assert figures.kendall == pytest.approx(7 / 12)
    assert figures.unreadable == pytest.approx(1 / 12)
    assert figures.verdicts == 12
    assert figures.pooled_spearman is None


def test_kendall_is_tau_b() -> None:
    """Ranks 0, 1, 1 and scores 4, 2, 3: two pairs agree, one is a human tie: 2 / sqrt(3 · 2)."""
    assert agreement(judged(s=[(0, 4), (1, 2), (1, 3)]), 5).kendall == pytest.approx(2 / 6**0.5)


def test_exact_match_asks_for_the_same_ties() -> None:
    assert agreement(judged(s=[(0, 4), (1, 2), (1, 2)]), 5).exact_match == 1
    assert agreement(judged(s=[(0, 4), (1, 2), (1, 3)]), 5).exact_match == 0


def test_reversed_judge_is_all_wrong() -> None:
    figures = agreement(judged(s=[(0, 1), (1, 2), (2, 5)]), 5)
    assert (figures.pairwise_accuracy, figures.five_best, figures.exact_match) == (0, 0, 0)
    assert figures.spearman == pytest.approx(-1)
    assert figures.kendall == pytest.approx(-1)


def test_pairs_stay_within_their_set() -> None:
    """Each set alone is right, though b's best is scored below a's worst."""
    assert agreement(judged(a=[(0, 5), (1, 4)], b=[(0, 2), (1, 1)]), 5).pairwise_accuracy == 1


def test_top_score_is_the_rubrics() -> None:
    replies = judged(s=[(0, 5), (1, 10)])
    assert agreement(replies, max_score=10).five_best == 0
    assert agreement(replies, max_score=20).five_best is None


def test_pooled_spearman_over_all_scored_replies() -> None:
    """Scores 1 2 4 3 for 10 20 30 40: 1 - 6·(1+1)/(4·15) = 0.8; replies without one of the two are left out."""
    assert pooled((1, 10), (2, 20), (4, 30), (3, 40), (None, 50), (1, None)) == pytest.approx(0.8)
    assert pooled((4, 10), (4, 20)) == 0
    assert pooled((4, 10), (3, 10)) is None


def test_scores_are_counted_against_the_true_ones() -> None:
    assert score_counts(scored((4, 5), (None, 5), (4, 5), (5, 5), (4, 2), (3, None))) == [
        ScoreCount(2, 4, 1),
        ScoreCount(5, 4, 2),
        ScoreCount(5, 5, 1),
        ScoreCount(5, None, 1),
        ScoreCount(None, 3, 1),
    ]


def test_nothing_to_measure_is_none() -> None:
    assert agreement([], 5) == Agreement(None, None, None, None, None, None, None, 0)
    unread = agreement(judged(s=[(0, None), (1, None)]), 5)
    assert unread == Agreement(None, None, 0, None, None, None, 1, 2)
