"""Agreement figures against numbers computed by hand, against scipy, and against brute force."""

import random
from collections.abc import Callable, Iterable
from itertools import combinations, groupby
from statistics import fmean

import pytest
from scipy import stats

from selfreward_ray.evaluation import agreement as module
from selfreward_ray.evaluation.agreement import (
    FIGURES,
    Agreement,
    Judgement,
    ScoreCount,
    agreement,
    agreement_metrics,
    first_verdicts,
    mean_verdicts,
    pair_counts,
    score_counts,
    spearmans,
)
from selfreward_ray.records import JudgedReply, Verdict

Reply = tuple[float, float | None]


def judged(**sets: list[Reply]) -> list[Judgement]:
    return [Judgement(name, rank, score) for name, replies in sets.items() for rank, score in replies]


def scored(*points: tuple[float | None, float | None]) -> list[Judgement]:
    return [Judgement("s", 0, score, human) for score, human in points]


def pooled(*points: tuple[float | None, float | None]) -> float | None:
    return agreement(scored(*points), 5).pooled_spearman


def test_figures_by_hand() -> None:
    """(rank, score) of five sets:

    a: (0,5) (1,3) (2,4): pairs right, right, wrong; Spearman 1 - 6·(0+1+1)/(3·8) = 1/2; Kendall (2-1)/3
    b: (0,5) (1,5): the tie is wrong; both correlations 0
    c: (0,4) (1,2) (1,-): of two pairs one is unreadable and so wrong; both correlations 0; no whole order
    d: (0,3) (1,1): right; 1; the only exact match
    e: (0,5) (0,2): equal ranks, not measured

    Pairs 3+0+1+1 right of 3+1+2+1 = 7; of these one is tied. Fives: a's and the best of b, of a's and two of b's.
    Exact 1 of 4. Spearman (1/2+0+0+1)/4, Kendall (1/3+0+0+1)/4. Unreadable 1 of 12.
    """
    replies = judged(
        a=[(0, 5), (1, 3), (2, 4)],
        b=[(0, 5), (1, 5)],
        c=[(0, 4), (1, 2), (1, None)],
        d=[(0, 3), (1, 1)],
        e=[(0, 5), (0, 2)],
    )
    figures = agreement(replies, max_score=5)
    assert figures.pairwise_accuracy == pytest.approx(4 / 7)
    assert figures.tied == pytest.approx(1 / 7)
    assert figures.five_best == pytest.approx(2 / 3)
    assert figures.exact_match == pytest.approx(1 / 4)
    assert figures.spearman == pytest.approx(1.5 / 4)
    assert spearmans(replies) == pytest.approx({"a": 0.5, "b": 0, "c": 0, "d": 1})
    assert figures.kendall == pytest.approx(4 / 3 / 4)
    assert figures.unreadable == pytest.approx(1 / 12)
    assert (figures.verdicts, figures.sets, figures.sets_left_out) == (12, 4, 1)
    assert figures.counts == {
        "pairwise_accuracy": 7, "five_best": 3, "exact_match": 4, "spearman": 4, "kendall": 4,
    }  # fmt: skip
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


@pytest.mark.parametrize("shift", [0, 1, -3.5])
def test_only_the_order_of_ranks_counts(shift: float) -> None:
    """Ranks may begin at 1, and the best rank of a set need not be 0: the best reply may have been left out."""
    sets = {"a": [(0, 5), (1, 3), (2, 4)], "b": [(0, 4), (3, 5)]}
    moved = {name: [(rank + shift, score) for rank, score in replies] for name, replies in sets.items()}
    assert agreement(judged(**moved), 5) == agreement(judged(**sets), 5)
    assert agreement(judged(**moved), 5).five_best == 0.5


def test_an_unreadable_reply_is_never_better_than_a_wrong_one() -> None:
    """The same judge with its only mistake left unreadable. No figure but 5-best may rise."""
    wrong = judged(a=[(0, 4), (1, 2), (2, 3)], b=[(0, 5), (1, 1)])
    unread = judged(a=[(0, 4), (1, 2), (2, None)], b=[(0, 5), (1, 1)])
    before, after = vars(agreement(wrong, 5)), vars(agreement(unread, 5))
    assert all(after[name] <= before[name] for name in FIGURES)
    assert before["counts"] == after["counts"]


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


def nothing(**found: object) -> Agreement:
    values = dict.fromkeys((*FIGURES, "pooled_spearman", "tied", "unreadable"))
    counts = {"verdicts": 0, "sets": 0, "sets_left_out": 0}
    empty = {"counts": dict.fromkeys(FIGURES, 0), "intervals": dict.fromkeys(FIGURES)}
    return Agreement(**(values | counts | empty | found))


def test_nothing_to_measure_is_none() -> None:
    assert agreement([], 5) == nothing()
    alone = judged(a=[(0, 5)], b=[(1, 5)], c=[(2, None)])
    assert agreement(alone, 5) == nothing(unreadable=1 / 3, verdicts=3, sets_left_out=3)


def test_one_set_has_figures_and_no_interval() -> None:
    figures = agreement(judged(s=[(0, None), (1, None)]), 5)
    assert (figures.pairwise_accuracy, figures.exact_match, figures.spearman) == (0, 0, 0)
    assert (figures.five_best, figures.unreadable) == (None, 1)
    assert set(figures.intervals.values()) == {None}


def test_five_best_has_an_interval_only_over_sets_with_a_maximum_score() -> None:
    figures = agreement(judged(a=[(0, 5), (1, 3)], b=[(0, 4), (1, 3)], c=[(0, 4), (1, 4)]), 5)
    assert figures.intervals["five_best"] is None
    assert figures.intervals["pairwise_accuracy"] is not None


def verdicts(*scores: float | None) -> tuple[Verdict, ...]:
    return tuple(Verdict(f"v{k}", "", score, 1) for k, score in enumerate(scores))


def test_one_verdict_and_the_mean_of_all_are_measured_apart() -> None:
    """First verdicts 3 and 4: wrong. Means 4 and 3: right. The third set's reply has one valid verdict of three."""
    replies = [
        JudgedReply("a/r0", "a", 0, None, verdicts(3, 4, 5)),
        JudgedReply("a/r1", "a", 1, None, verdicts(4, 2, 3)),
        JudgedReply("b/r0", "b", 0, None, verdicts(5, None, None)),
        JudgedReply("b/r1", "b", 1, None, verdicts(1, 1, None)),
    ]
    assert [reply.score for reply in first_verdicts(replies)] == [3, 4, 5, 1]
    assert [reply.score for reply in mean_verdicts(replies, 2)] == [4, 3, None, 1]
    found = agreement_metrics(replies, 5, min_valid=2)
    assert (found["agreement"]["pairwise_accuracy"], found["agreement"]["verdicts"]) == (0.5, 4)
    means = found["agreement_of_means"]
    assert (means["pairwise_accuracy"], means["unreadable"], means["verdicts"]) == (0.5, 0.25, 12)


def test_replies_with_one_verdict_have_no_figures_of_means_and_need_one_score() -> None:
    replies = [JudgedReply("a/r0", "a", 0, None, verdicts(3)), JudgedReply("a/r1", "a", 1, None, verdicts(1))]
    assert agreement_metrics(replies, 5, min_valid=2)["agreement_of_means"] is None
    assert [reply.score for reply in mean_verdicts(replies, 2)] == [3, 1]


# --- random data, against scipy and brute force


def random_sets(seed: int, sets: int = 60) -> list[Judgement]:
    """Sets of 1 to 6 replies with ties on both sides, a few unreadable, in mixed order."""
    rng = random.Random(seed)
    replies = [
        Judgement(f"s{s}", rng.randint(0, 3), None if rng.random() < 0.04 else rng.choice([1, 2, 2.5, 4, 5]))
        for s in range(sets)
        for _ in range(rng.randint(1, 6))
    ]
    return rng.sample(replies, len(replies))


def sets_of(replies: Iterable[Judgement]) -> list[list[Judgement]]:
    ordered = sorted(replies, key=lambda reply: reply.set_id)
    found = [list(group) for _, group in groupby(ordered, key=lambda reply: reply.set_id)]
    return [group for group in found if len({reply.rank for reply in group}) > 1]


def correlation(measure: Callable[..., object], replies: list[Judgement]) -> float:
    scores = [reply.score for reply in replies]
    if None in scores or len(set(scores)) == 1:
        return 0.0
    return measure(scores, [-reply.rank for reply in replies]).statistic


def brute_force(replies: list[Judgement], max_score: float) -> dict[str, float]:
    """The same figures one pair and one set at a time, with scipy's correlations."""
    sets = sets_of(replies)
    right = total = first = top = exact = 0
    for group in sets:
        for a, b in combinations(group, 2):
            if a.rank != b.rank:
                total += 1
                best, other = (a, b) if a.rank < b.rank else (b, a)
                right += best.score is not None and other.score is not None and best.score > other.score
        best_rank = min(reply.rank for reply in group)
        top += sum(reply.score == max_score for reply in group)
        first += sum(reply.score == max_score and reply.rank == best_rank for reply in group)
        scores = [reply.score for reply in group]
        exact += None not in scores and list(stats.rankdata([-s for s in scores])) == list(
            stats.rankdata([reply.rank for reply in group])
        )
    return {
        "pairwise_accuracy": right / total,
        "five_best": first / top,
        "exact_match": exact / len(sets),
        "spearman": fmean(correlation(stats.spearmanr, group) for group in sets),
        "kendall": fmean(correlation(stats.kendalltau, group) for group in sets),
    }


@pytest.mark.parametrize("seed", range(5))
def test_random_sets_have_the_figures_of_an_independent_computation(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = random_sets(seed)
    expected = brute_force(replies, 5)
    found = vars(agreement(replies, 5))
    assert {name: found[name] for name in FIGURES} == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(module, "_CELLS", 40)  # one to ten sets at a time
    in_parts = vars(agreement(replies, 5))
    assert {name: in_parts[name] for name in FIGURES} == pytest.approx(expected, abs=1e-12)


def test_intervals_are_those_of_resampled_sets() -> None:
    """A plain bootstrap, one set at a time and with another generator, differs by chance only."""
    replies = random_sets(11, sets=40)
    rng = random.Random(5)
    sets = sets_of(replies)
    drawn = []
    for _ in range(1000):
        resample = [Judgement(f"{n}", r.rank, r.score) for n in range(len(sets)) for r in rng.choice(sets)]
        drawn.append(agreement_without_intervals(resample))
    for name, interval in agreement(replies, 5).intervals.items():
        low, high = interval
        values = sorted(getattr(figures, name) for figures in drawn)
        assert high - low > 0.05
        assert (low, high) == pytest.approx((values[25], values[974]), abs=0.12 * (high - low)), name


def agreement_without_intervals(replies: list[Judgement]) -> Agreement:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "ratio_intervals", lambda sums: [None] * len(FIGURES))
        return agreement(replies, 5)


def test_intervals_do_not_depend_on_the_order_of_rows() -> None:
    replies = random_sets(3)
    mixed = random.Random(1).sample(replies, len(replies))
    assert agreement(replies, 5).intervals == agreement(mixed, 5).intervals


def test_pair_counts_are_those_of_the_pairwise_accuracy():
    """Three replies have three pairs. A tie is wrong, and so are the pairs of a reply that cannot be read."""
    sets = {"a": (5, 3, 3), "b": (1, None, 4), "c": (2, None)}
    judged = [Judgement(name, rank, score) for name, scores in sets.items() for rank, score in enumerate(scores)]
    judged += [Judgement("level", 0, 5), Judgement("level", 0, 1)]
    found = pair_counts(judged)
    assert found == {"a": (2, 3), "b": (0, 3), "c": (0, 1)}
    accuracy = agreement(judged, 5).pairwise_accuracy
    assert accuracy == sum(right for right, _ in found.values()) / sum(pairs for _, pairs in found.values())
