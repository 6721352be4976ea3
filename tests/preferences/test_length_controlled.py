"""Length control: the shortest of the best against the longest of the worst."""

from dataclasses import replace

import pytest
from judged_prompts import PROMPT, candidate, candidate_set

from selfreward_ray.preferences.candidate_set import SAME_MEAN
from selfreward_ray.preferences.length_controlled import length_controlled
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped


def names(*candidates: Candidate, band: float) -> tuple[str, str] | str:
    outcome = length_controlled(candidate_set(*candidates), Pairs(band=band))
    if isinstance(outcome, Dropped):
        return outcome.reason
    [pair] = outcome
    assert pair.id == f"{PROMPT}/pair"
    return pair.chosen.id.removeprefix(f"{PROMPT}/"), pair.rejected.id.removeprefix(f"{PROMPT}/")


RANGE_OF_5 = (
    candidate("a", "a", 5, 5, tokens=9),
    candidate("b", "b", 4, 4, tokens=2),
    candidate("c", "c", 1, 1, tokens=7),
    candidate("d", "d", 0, 0, tokens=3),
)


@pytest.mark.parametrize(
    ("band", "outcome"),
    [
        (0.0, ("a", "d")),  # only the best and the worst mean
        (0.19, ("a", "d")),  # from 4.05 up, to 0.95 down
        (0.2, ("b", "c")),  # 4 and 1 are just in the bands
    ],
)
def test_within_the_bands_length_decides(band: float, outcome: tuple[str, str]):
    assert names(*RANGE_OF_5, band=band) == outcome


def test_replies_that_no_engine_wrote_have_their_characters_counted():
    best, short = candidate("a", "three words long", 5, 5, tokens=0), candidate("b", "word", 4, 4, tokens=0)
    long, worst = candidate("c", "longest of all", 1, 1, tokens=0), candidate("d", "no", 0, 0, tokens=0)
    assert names(best, short, long, worst, band=0.2) == ("b", "c")


def test_a_band_reaches_thirds_in_spite_of_rounding():
    """A fifth of the range from 3 to 14/3 is a third, so 13/3 is just in the band; in floats it is a bit short."""
    best, short, worst = candidate("a", "a", 5, 5, 4, tokens=5), candidate("b", "b", 5, 4, 4), candidate("c", "c", 3, 3)
    assert names(best, short, worst, band=0.2) == ("b", "c")


def test_a_band_reaches_thirds_from_below_too():
    """A fifth of the range from 4/3 to 3 is a third, so 5/3 is just in the band."""
    best, long, worst = candidate("a", "a", 3, 3), candidate("b", "b", 2, 2, 1, tokens=5), candidate("c", "c", 1, 1, 2)
    assert names(best, long, worst, band=0.2) == ("a", "b")


@pytest.mark.parametrize(
    ("candidates", "outcome"),
    [
        # the best mean belongs to what may not be chosen: the range ends at the best that may
        ([candidate("x", "", 5, 5), candidate("a", "a", 3, 3, tokens=9), candidate("b", "b", 1, 1)], ("a", "b")),
        # equal lengths: the better mean, the worse mean, then the ids
        ([candidate("b", "b", 5, 5), candidate("a", "a", 5, 4), candidate("c", "c", 1, 1)], ("b", "c")),
        ([candidate("b", "b", 5, 5), candidate("a", "a", 5, 5), candidate("c", "c", 1, 1)], ("a", "c")),
        # the longest of the worst repeats the shortest of the best: the next longest
        (
            [
                candidate("a", "x", 5, 5),
                candidate("b", "x", 1, 1, tokens=4),
                candidate("c", "c", 1, 1, tokens=3),
                candidate("d", "d", 1, 1, tokens=2),
            ],
            ("a", "c"),
        ),
        ([candidate("a", "a", 3, 3), candidate("b", "b", 3, 3)], SAME_MEAN),
    ],
)
def test_rules(candidates: list[Candidate], outcome: tuple[str, str] | str):
    assert names(*candidates, band=0.2) == outcome


def test_a_thought_does_not_count_in_the_length_of_its_reply():
    """Of its nine tokens eight are the thought, so that it is the shorter one of the two best."""
    first, *others = RANGE_OF_5
    assert names(replace(first, thought_tokens=8), *others, band=0.2) == ("a", "c")
