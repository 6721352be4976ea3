from dataclasses import replace

import pytest
from reporting_examples import ITERATION, prompt, reply

from selfreward_ray.reporting.judged import BOTH, POSITIVE, JudgedFigures, ShownPrompt, merged_histograms
from selfreward_ray.reporting.summary import IterationSummary


def summary(
    *prompts: ShownPrompt, scale: tuple[float, float] | None = (0.0, 5.0), min_valid: int = 1
) -> IterationSummary:
    figures = JudgedFigures("M2", "M1", scale, min_valid)
    for one in prompts:
        figures.add(one)
    return figures.summary()


def judged(*means: float | None) -> ShownPrompt:
    return ShownPrompt("M2/p0", "Why?", "tied", tuple(reply(f"M2/p0/r{n}", mean) for n, mean in enumerate(means)))


def test_ties_are_counted_by_pairs_of_candidates_and_by_prompts():
    """Three candidates of one mean are three tied pairs; of 4, 4, 2 one pair of three is tied; one score alone is none
    to compare."""
    found = summary(judged(3, 3, 3), judged(4, 4, 2), judged(1, None, None))
    assert found.ties == pytest.approx(4 / 6)
    assert found.level == 1 / 2
    assert (found.prompts, found.candidates) == (3, 9)
    assert found.unreadable == pytest.approx(2 / 9)
    assert found.outcomes == {"tied": 3}


def test_a_candidate_with_too_few_readable_verdicts_is_not_compared():
    """As in the pair step, and in the figures that it writes for the alarms."""
    sure, unsure = ((3.0, "a"), (3.0, "b")), ((3.0, "a"), (None, "b"))
    replies = (reply("r0", verdicts=sure), reply("r1", verdicts=sure), reply("r2", 2.0, verdicts=unsure))
    one = ShownPrompt("M2/p0", "Why?", "tied", replies)
    assert (summary(one).ties, summary(one).level) == (1 / 3, 0)
    found = summary(one, min_valid=2)
    assert (found.ties, found.level, found.histogram["2"]) == (1, 1, 0)
    assert found.unreadable == 1 / 6


def test_the_histogram_rounds_means_and_covers_the_whole_scale():
    found = summary(judged(0, 2.5, 4.67, 5))
    assert found.histogram == {"0": 0.25, "1": 0, "2": 0, "3": 0.25, "4": 0, "5": 0.5}
    assert found.at_maximum == 0.25
    wide = summary(judged(0, 97), scale=(0.0, 100.0)).histogram
    assert wide["100"] == wide["0"] == 0.5
    assert len(wide) == 11


def test_without_the_rubric_the_scale_is_that_of_the_means_and_the_maximum_is_not_known():
    found = summary(judged(1, 2.4), scale=None)
    assert found.histogram == {"1": 0.5, "2": 0.5, "3": 0}
    assert found.at_maximum is None


def test_lengths_and_scores_of_chosen_and_rejected_replies():
    found = summary(prompt(), judged(2))
    assert (found.chosen_words, found.rejected_words, found.candidate_words) == (3, 1, (3 + 2 + 1 + 2) / 4)
    assert (found.chosen_mean, found.rejected_mean) == (4.0, 1.5)
    both = ShownPrompt("p", "", "pair", (reply("p/r0", 3.0, BOTH, "a b c d"), reply("p/r1", 5.0, POSITIVE, "a b")))
    found = summary(both)
    assert (found.chosen_words, found.rejected_words) == (3, 4)


def test_nothing_judged_is_nothing_measured():
    found = summary()
    assert (found.prompts, found.ties, found.unreadable, found.at_maximum, found.chosen_words) == (0, *[None] * 4)
    assert found.histogram == {}
    assert summary(judged(None, None)).histogram == {}


def test_histograms_are_merged_in_ascending_order():
    other = replace(ITERATION, judge="M1", histogram={"10": 1.0, "5": 0.0})
    labels, shares = merged_histograms((ITERATION, other, replace(ITERATION, judge="M2", histogram={})))
    assert labels == ["0", "5", "10"]
    assert shares == {"M0": [25.0, 75.0, 0.0], "M1": [0.0, 0.0, 100.0]}


def test_flagged_replies_are_counted_by_their_reasons():
    replies = (reply("p/r0", 3.0, flag="empty"), reply("p/r1", 1.0), reply("p/r2", 2.0, flag="too common"))
    again = ShownPrompt("q", "", "tied", (reply("q/r0", 3.0, flag="too common"),))
    assert summary(ShownPrompt("p", "", "tied", replies), again).flagged == {"too common": 2, "empty": 1}
    assert summary(judged(1)).flagged == {}
