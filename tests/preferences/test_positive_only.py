"""Positive only: which replies are imitated, which reason."""

import pytest
from judged_prompts import PROMPT, candidate, candidate_set

from selfreward_ray.preferences.positive_only import FLAGGED, LOW, TOO_FEW_VERDICTS, UNFINISHED, positive_only
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped, Positive


def names(*candidates: Candidate, mean: float = 5) -> list[str] | str:
    outcome = positive_only(candidate_set(*candidates), Pairs(positive_mean=mean))
    return outcome.reason if isinstance(outcome, Dropped) else [row.id.removeprefix(f"{PROMPT}/") for row in outcome]


def test_a_row_holds_the_ids_of_prompt_and_reply():
    best = candidate("a", "x", 5, 5, 5, tokens=3)
    [row] = positive_only(candidate_set(best, candidate("b", "y", 5, 4)), Pairs())
    assert row == Positive(f"{PROMPT}/a", "Name a sea.", (7, 8), best)


@pytest.mark.parametrize(
    ("candidates", "mean", "outcome"),
    [
        # every one that reaches the mean, the best first; one reply is enough
        ([candidate("c", "z", 4, 4), candidate("a", "x", 4, 4), candidate("b", "y", 5, 4)], 4, ["b", "a", "c"]),
        ([candidate("a", "x", 5, 5, None)], 5, ["a"]),
        # three verdicts of 14 in all are 4.6666…, which 14/3 written as a decimal must not miss
        ([candidate("a", "x", 5, 5, 4)], 4.6666666667, ["a"]),
        # of equal texts one: the best mean, then the first id
        ([candidate("a", "x", 4, 4), candidate("b", "x\n", 5, 5), candidate("c", "x", 5, 5)], 4, ["b"]),
        # unfinished and flagged replies are not imitated
        ([candidate("a", "x", 5, 5, finished=False), candidate("b", "", 5, 5), candidate("c", "z", 5, 5)], 5, ["c"]),
        ([], 5, TOO_FEW_VERDICTS),
        ([candidate("a", "x", 5, None)], 5, TOO_FEW_VERDICTS),
        ([candidate("a", "x", 5, 5, 4)], 5, LOW),
        ([candidate("a", "x", 5, 5, finished=False), candidate("b", "y", 4, 4)], 5, UNFINISHED),
        ([candidate("a", "Name a sea", 5, 5), candidate("b", "y", 5, 5, finished=False)], 5, FLAGGED),
    ],
)
def test_rules(candidates: list[Candidate], mean: float, outcome: list[str] | str):
    assert names(*candidates, mean=mean) == outcome
