"""Figures of two seeds, computed by hand. M3 of the second seed has one point less on each prompt."""

from dataclasses import replace

import pytest
from proof_examples import answers, judged, seed_rows

from selfreward_ray.demo.proof.figures import PairCount, pool_figures
from selfreward_ray.evaluation.intervals import Estimate


def test_scores_are_pooled_over_seeds_by_set_and_model():
    """M3: 90 with the first seed, 70 with the second. Conditional: quotes kept of [1, 3] once, of [3, 3] twice."""
    figures = pool_figures([seed_rows(), seed_rows(shift=1)])
    assert (figures.seeds, figures.sets, figures.models) == ((5, 6), ["topics", "words"], ["M0", "M1", "M2", "M3"])
    found = {model: estimate.mean for model, estimate in figures.true_score["words"].items()}
    assert found == pytest.approx({"M0": 30, "M1": 40, "M2": 60, "M3": 80})
    assert [run.mean for run in figures.true_score["topics"]["M3"].runs] == pytest.approx([90, 70])
    assert figures.replies["M3"].score == pytest.approx(80)
    assert figures.replies["M3"].count == 8
    kept = {model: estimate.mean for model, estimate in figures.conditional["topics"].items()}
    assert kept == pytest.approx({"M0": 0, "M1": 50, "M2": 100, "M3": 100})


def test_gains_begin_at_m1_and_are_by_prompt():
    """M1 to M2: +40 and 0. M2 to M3: +20 and +40, with the second seed 0 and +20."""
    gained = pool_figures([seed_rows(), seed_rows(shift=1)]).gains["topics"]
    means = {span: gain.mean for span, gain in gained.items()}
    assert means == pytest.approx({("M2", "M1"): 20, ("M3", "M1"): 40, ("M3", "M2"): 20})
    assert [run.mean for run in gained["M3", "M2"].runs] == pytest.approx([30, 10])
    assert gained["M2", "M1"].runs[0].margin == pytest.approx(1.96 * 20)  # 40 and 0, not the spread of the scores


def test_how_far_a_model_is_ahead_of_a_control_is_by_prompt_too():
    """M2 against random pairs: [3, 3] against [1, 2] points of 20 %. Against the ceiling: [4, 4]."""
    ahead = pool_figures([seed_rows(), seed_rows(shift=1)]).ahead
    assert ahead["random"]["words"]["M2"].mean == pytest.approx(30)
    assert ahead["random"]["words"]["M2"].runs[0].margin == pytest.approx(1.96 * 10)
    assert ahead["ceiling"]["words"]["M2"].mean == pytest.approx(-20)
    assert set(ahead["no_eft"]["words"]) == {"M1"}


def test_a_rule_is_counted_where_it_is_asked_and_where_nothing_of_its_sort_is():
    rules = pool_figures([seed_rows()]).rules["topics"]
    assert rules["quotes"]["M1"].asked.mean == 50
    assert rules["quotes"]["M1"].not_asked is None
    assert (rules["lower case"]["M1"].asked, rules["lower case"]["M1"].not_asked.mean) == (None, 100)
    assert rules["normal capitals"]["M3"].not_asked.mean == 0


def test_judges_are_measured_over_the_sets_of_all_seeds():
    """Spearman of 0, 1, 2 given as 1, 0, 2: 1 − 6·2/(3·8) = 0.5. M3 leaves a verdict unreadable."""
    judges = pool_figures([seed_rows(), seed_rows()]).fixed_judge
    assert {m: j.spearman.mean for m, j in judges.items()} == pytest.approx({"M1": 1, "M2": 0.5, "M3": 0})
    assert judges["M3"].agreement.unreadable == pytest.approx(1 / 3)
    assert judges["M3"].agreement.verdicts == 6
    assert judges["M2"].agreement.pairwise_accuracy == pytest.approx(2 / 3)  # one set of six replies would have more
    assert [(s.true, s.given, s.count) for s in judges["M3"].scores] == [(0, 0, 2), (1, 1, 2), (2, None, 2)]


def test_matches_by_the_verifier_and_by_the_judge():
    """M2 against M1, [3, 3] against [1, 3]: a win and a tie with each seed. M3 wins twice with the first seed; with the
    second, [3, 4] against [3, 3], once."""
    second, third = pool_figures([seed_rows(), seed_rows(shift=1)]).matches
    assert (second.left, second.right, third.left, third.right) == ("M2", "M1", "M3", "M2")
    won = [(m.by_truth["topics"].left, m.by_truth["topics"].right, m.by_truth["topics"].ties) for m in (second, third)]
    assert won == [(2, 0, 2), (3, 0, 1)]
    # With each seed: a is won and b a tie, c has no readable verdict on M2's answer; then a is lost.
    assert (second.by_judge.left, second.by_judge.right, second.by_judge.ties) == (2, 0, 2)
    assert (third.by_judge.right, third.by_judge.left_win_rate) == (2, 0)


def test_a_judge_that_can_not_be_read_at_all_orders_nothing():
    """Replies of one worth are no set to order, read or not."""
    alike = [replace(reply, set_id="alike", rank=0) for reply in judged(None, None)]
    run = replace(seed_rows(), judged=dict.fromkeys(("M1", "M2", "M3"), judged(None, None, None) + alike))
    assert pool_figures([run]).fixed_judge["M3"].spearman == Estimate(0, None)


def test_greedy_answers_are_measured_apart_and_play_the_matches():
    """M3's greedy answers are worth nothing: 0 and 0 against M2's 3 and 3."""
    rows = seed_rows()
    greedy = rows.greedy | {"M3": answers([0, 0], "topics") + answers([0, 0], "words")}
    figures = pool_figures([replace(rows, greedy=greedy)])
    assert {m: e.mean for m, e in figures.greedy["words"].items()} == pytest.approx({"M1": 40, "M2": 60, "M3": 0})
    assert figures.greedy_conditional["topics"]["M3"].mean == 0
    assert figures.matches[1].by_truth["topics"].right == 2
    assert figures.true_score["words"]["M3"].mean == pytest.approx(90)


def test_counts_are_summed_and_the_slowest_seed_is_told():
    figures = pool_figures([seed_rows(), seed_rows(shift=1)])
    assert figures.shared_pairs == {"M2": 8, "M3": 6}
    assert figures.pairs == {"M2": PairCount(20, 16, 10, 4), "M3": PairCount(20, 12, 6, 2)}
    assert (figures.loop_seconds, figures.seconds) == (61, 101)
    assert figures.replies["M1"].count == 8
    assert figures.replies["M1"].distinct_1 == pytest.approx(2 / 32)  # two words, four times in each of eight answers


def test_a_control_has_only_models_that_it_came_to_with_every_seed():
    further = seed_rows()
    further = replace(further, controls=further.controls | {"no_eft": further.controls["random"]})
    figures = pool_figures([further, seed_rows()])
    assert set(figures.controls["random"]["topics"]) == {"M2", "M3"}
    assert figures.controls["no_eft"]["topics"] == {}  # the one seed has M2 and M3, the other M1
    assert pool_figures([seed_rows(controls=False)]).controls == {}
