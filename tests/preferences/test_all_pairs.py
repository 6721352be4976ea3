"""All pairs: every two candidates that differ enough."""

import pytest
from judged_prompts import PROMPT, candidate, candidate_set

from selfreward_ray.preferences.all_pairs import CLOSE, all_pairs
from selfreward_ray.preferences.candidate_set import SAME_MEAN
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped


def names(*candidates: Candidate, margin: float) -> list[str] | str:
    outcome = all_pairs(candidate_set(*candidates), Pairs(margin=margin))
    if isinstance(outcome, Dropped):
        return outcome.reason
    for pair in outcome:
        assert pair.id == f"{PROMPT}/pair-{pair.chosen.id[-2:]}-{pair.rejected.id[-2:]}"
    return [pair.id.removeprefix(f"{PROMPT}/pair-") for pair in outcome]


FOUR = (candidate("r0", "a", 1, 1), candidate("r1", "b", 3, 3), candidate("r2", "c", 4, 4), candidate("r3", "d", 5, 5))


@pytest.mark.parametrize(
    ("margin", "outcome"),
    [
        (0.5, ["r3-r0", "r3-r1", "r3-r2", "r2-r0", "r2-r1", "r1-r0"]),  # 4 over 2
        (2.0, ["r3-r0", "r3-r1", "r2-r0", "r1-r0"]),
        (4.0, ["r3-r0"]),
        (4.5, CLOSE),
    ],
)
def test_every_two_that_differ_by_the_margin(margin: float, outcome: list[str] | str):
    assert names(*FOUR, margin=margin) == outcome


def test_a_whole_difference_of_thirds_counts_as_whole():
    """13/3 − 10/3 is 0.9999999999999996 in floats."""
    assert names(candidate("r0", "a", 5, 4, 4), candidate("r1", "b", 4, 3, 3), margin=1.0) == ["r0-r1"]


@pytest.mark.parametrize(
    ("candidates", "outcome"),
    [
        # the flagged and the unfinished lose to each, and win against none
        (
            [
                candidate("r0", "", 5, 5),
                candidate("r1", "b", 4, 4),
                candidate("r2", ":", 1, 1),
                candidate("r3", "d", 0, 0),
            ],
            ["r1-r3", "r1-r2"],
        ),
        (
            [candidate("r0", "a", 5, 5, finished=False), candidate("r1", "b", 4, 4), candidate("r2", "c", 1, 1)],
            ["r1-r2"],
        ),
        # equal texts are no pair
        ([candidate("r0", "a", 5, 5), candidate("r1", "a ", 3, 3), candidate("r2", "c", 1, 1)], ["r0-r2", "r1-r2"]),
        ([candidate("r0", "a", 3, 3), candidate("r1", "b", 2, 4)], SAME_MEAN),
    ],
)
def test_rules(candidates: list[Candidate], outcome: list[str] | str):
    assert names(*candidates, margin=1.0) == outcome
