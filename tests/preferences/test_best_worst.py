"""Best against worst: which pair, which reason."""

from dataclasses import replace

import pytest
from hypothesis import given
from judged_prompts import CONSTANT_TEXT, PROMPT, candidate, candidate_lists, candidate_set

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.preferences.best_worst import best_worst
from selfreward_ray.preferences.candidate_set import FLAGGED, SAME_MEAN, SAME_TEXT, TOO_FEW_VERDICTS, UNFINISHED
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped


def names(*candidates: Candidate) -> tuple[str, str] | str:
    outcome = best_worst(candidate_set(*candidates), Pairs())
    if isinstance(outcome, Dropped):
        return outcome.reason
    [pair] = outcome
    return pair.chosen.id.removeprefix(f"{PROMPT}/"), pair.rejected.id.removeprefix(f"{PROMPT}/")


def test_best_mean_against_worst_mean() -> None:
    best, middle, worst = candidate("a", "x", 4, 5, 5), candidate("b", "y", 3, 3, 3), candidate("c", "z", 1, 2, 1)
    outcome = best_worst(candidate_set(middle, best, worst), Pairs())
    assert isinstance(outcome, list)
    [pair] = outcome
    assert (pair.chosen, pair.rejected) == (best, worst)
    assert (pair.id, pair.prompt, pair.prompt_ids) == ("M2/p000000/pair", "Name a sea.", (7, 8))


@pytest.mark.parametrize(
    ("candidates", "outcome"),
    [
        # an unreadable verdict is not a low score: c has too few verdicts, and b is the worst
        ([candidate("a", "x", 5, 5), candidate("b", "y", 3, 3), candidate("c", "z", 0, None)], ("a", "b")),
        # an unfinished reply may lose, but not win
        ([candidate("a", "x", 5, 5, finished=False), candidate("b", "y", 4, 4), candidate("c", "z", 1, 1)], ("b", "c")),
        ([candidate("a", "x", 5, 5), candidate("b", "y", 1, 1, finished=False)], ("a", "b")),
        # a reply without words may lose, but not win
        ([candidate("a", "", 5, 5), candidate("b", "y", 4, 4), candidate("c", "z", 1, 1)], ("b", "c")),
        ([candidate("a", "Thought process:", 5, 5), candidate("b", "y", 4, 4), candidate("c", "z", 1, 1)], ("b", "c")),
        ([candidate("a", "x", 5, 5), candidate("b", ":", 1, 1)], ("a", "b")),
        ([candidate("a", CONSTANT_TEXT, 5, 5), candidate("b", "y", 4, 4), candidate("c", "z", 1, 1)], ("b", "c")),
        ([candidate("a", "x", 5, 5), candidate("b", CONSTANT_TEXT, 1, 1)], ("a", "b")),
        # the same text with another mean: the next text is rejected
        ([candidate("a", "x", 5, 5), candidate("b", "x ", 1, 1), candidate("c", "z", 3, 3)], ("a", "c")),
        # of the two best, the one whose text the worst does not repeat
        ([candidate("a", "x", 5, 5), candidate("b", "y", 5, 5), candidate("c", "x", 1, 1)], ("b", "c")),
        # ties go to the smaller id
        ([candidate("b", "y", 5, 5), candidate("a", "x", 5, 5), candidate("d", "w", 1, 1)], ("a", "d")),
        ([candidate("b", "y", 5, 5), candidate("d", "w", 1, 1), candidate("c", "z", 1, 1)], ("b", "c")),
        ([], TOO_FEW_VERDICTS),
        ([candidate("a", "x", 5, 5), candidate("b", "y", 1, None), candidate("c", "z")], TOO_FEW_VERDICTS),
        ([candidate("a", "x", 4, 2), candidate("b", "y", 3, 3), candidate("c", "z", 2, 4)], SAME_MEAN),
        ([candidate("a", "x", 5, 5, finished=False), candidate("b", "y", 1, 1)], UNFINISHED),
        ([candidate("a", " \n", 5, 5), candidate("b", "...", 4, 4), candidate("c", "z", 1, 1)], FLAGGED),
        ([candidate("a", "x", 5, 5), candidate("b", "x", 1, 1)], SAME_TEXT),
        ([candidate("a", "x", 5, 5, finished=False), candidate("b", "y", 3, 3), candidate("c", "y", 1, 1)], SAME_TEXT),
    ],
)
def test_rules(candidates: list[Candidate], outcome: tuple[str, str] | str) -> None:
    assert names(*candidates) == outcome


@pytest.mark.parametrize("text", ["7", "да", "Seas:\nthe Baltic, and more:", "Sea: Baltic"])
def test_short_replies_with_words_may_win(text: str) -> None:
    assert names(candidate("a", text, 5, 5), candidate("b", "y", 1, 1)) == ("a", "b")


@given(candidate_lists())
def test_without_flagged_replies_a_pair_exists_whenever_means_differ(candidates: list[Candidate]) -> None:
    """Different texts, finished, all with three verdicts: a pair exists just when the means differ."""
    eligible = [
        with_verdicts(replace(c, text=c.id, finished=True), c.verdicts)
        for c in candidates
        if all(v.score is not None for v in c.verdicts)
    ]
    means = {c.mean for c in eligible if c.mean is not None}
    outcome = names(*eligible)
    if len(means) < 2:
        assert outcome == (TOO_FEW_VERDICTS if len(eligible) < 2 else SAME_MEAN)
    else:
        chosen, rejected = (next(c for c in eligible if c.id == f"{PROMPT}/{name}") for name in outcome)
        assert (chosen.mean, rejected.mean) == (max(means), min(means))
