"""Each claim by figures that hold it and by figures that do not."""

from dataclasses import replace

import pytest
from proof_examples import answers, judged, seed_rows

from selfreward_ray.demo.proof.claims import Outcome, make_claims
from selfreward_ray.demo.proof.figures import SeedRows, pool_figures


def many(scores: list[int]) -> list:
    return answers(scores, "topics") + answers(scores, "words")


NOT_RISING = {"M3 > M2 > M1 in true score, the means", "M3 > M2 > M1 in true score, with each seed"}
RANDOM, CEILING = {"M2": [1, 2], "M3": [2, 2]}, {"M2": [4, 4], "M3": [5, 5]}


def clear(**changed: list[int]) -> SeedRows:
    """A seed in which everything holds: twelve prompts a set, M1 at 20 to 40 %, M2 at 40 to 60 %, M3 at 80 to 100 %."""
    by_model = {"M0": [1, 1], "M1": [1, 2], "M2": [3, 2], "M3": [4, 5]} | changed
    rows = seed_rows()
    judge = {model: judged(0, 1, 2) for model in ("M1", "M2", "M3")}
    found = {"answers": by_model, "random": RANDOM, "ceiling": CEILING}
    made = {name: {model: many(scores * 6) for model, scores in scored.items()} for name, scored in found.items()}
    return replace(rows, answers=made.pop("answers"), controls=made, judged=judge)


def outcomes(*runs: SeedRows) -> dict[str, Outcome]:
    return {claim.text: claim.outcome for claim in make_claims(pool_figures(runs))}


def test_all_of_it_is_claimed_and_held():
    found = outcomes(clear(), clear())
    assert set(found.values()) == {"held"}
    for name in ("topics", "words"):
        assert {
            f"{name}: M3 > M2 > M1 in true score, the means",
            f"{name}: M3 > M2 > M1 in true score, with each seed",
            f"{name}: M3 above M1 in true score, intervals apart",
            f"{name}: M3 above M1 in true score, prompt by prompt",
            f"{name}: M3 above M1 in true score, with each seed",
            f"{name}: M3 above M1 in the conditional rules alone, intervals apart",
            f"{name}: M3 above M1 in the conditional rules alone, prompt by prompt",
            f"{name}: M3 above M1 in the conditional rules alone, with each seed",
            f"{name}: M2 above random pairs",
            f"{name}: M2 below the ceiling",
            f"{name}: M3 above random pairs",
            f"{name}: M3 below the ceiling",
        } <= set(found)
    assert {f"judge: Spearman of {m} on the fixed set not below the interval of M1" for m in ("M2", "M3")} <= set(found)
    assert len(found) == 26


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"M2": [1, 1]}, NOT_RISING | {"M2 above random pairs"}),
        ({"M2": [4, 5]}, NOT_RISING | {"M2 below the ceiling"}),
        ({"M2": [5, 5], "M3": [5, 5]}, NOT_RISING | {"M2 below the ceiling"}),
        # Quotes are kept from 3 points on: M1 keeps half, and so does M3.
        (
            {"M1": [0, 3], "M3": [2, 5]},
            {
                "M3 above M1 in the conditional rules alone, intervals apart",
                "M3 above M1 in the conditional rules alone, with each seed",
            },
        ),
    ],
)
def test_a_part_that_the_figures_do_not_hold_is_not_held(changed: dict[str, list[int]], broken: set[str]):
    found = outcomes(clear(**changed), clear(**changed))
    missed = {
        text.removeprefix("topics: ") for text, outcome in found.items() if outcome == "NOT HELD" and "topics" in text
    }
    assert missed == broken


def test_intervals_that_touch_are_not_apart():
    """M1 at 40 and 60 %, M3 at 60 and 80 %, one seed: 50 ± 19.6 and 70 ± 19.6."""
    few = replace(
        seed_rows(), answers={m: many(s) for m, s in {"M0": [1], "M1": [2, 3], "M2": [3, 3], "M3": [3, 4]}.items()}
    )
    found = outcomes(few)
    assert found["topics: M3 above M1 in true score, intervals apart"] == "NOT HELD"
    assert found["topics: M3 above M1 in true score, prompt by prompt"] == "held"  # 20 and 20
    assert found["topics: M3 above M1 in true score, with each seed"] == "held"


@pytest.mark.parametrize(
    ("own", "above_random", "below_ceiling"),
    [
        ([3, 2], "held", "held"),
        ([2, 1], "not significant", "held"),  # the random control's scores are 1 and 2, by turns
        ([0, 1], "NOT HELD", "held"),
        ([5, 4], "held", "not significant"),
        ([5, 5], "held", "NOT HELD"),
    ],
)
def test_a_difference_whose_interval_includes_0_is_not_significant(
    own: list[int], above_random: str, below_ceiling: str
):
    controls = {"random": {"M2": many([1, 2] * 6)}, "ceiling": {"M2": many([4, 5] * 6)}}
    found = outcomes(replace(clear(M2=own), controls=controls))
    assert found["topics: M2 above random pairs"] == above_random
    assert found["topics: M2 below the ceiling"] == below_ceiling


def test_one_seed_that_goes_the_other_way_is_told():
    """M2 at 50 %: M3 at 40 is above M1's 30 still, at 20 no more; with the other seed all rises."""
    below_m2, below_m1 = outcomes(clear(), clear(M3=[2, 2])), outcomes(clear(), clear(M3=[1, 1]))
    for found, above_m1 in ((below_m2, "held"), (below_m1, "NOT HELD")):
        assert found["words: M3 > M2 > M1 in true score, with each seed"] == "NOT HELD"
        assert found["words: M3 above M1 in true score, with each seed"] == above_m1
    assert below_m2["words: M3 > M2 > M1 in true score, the means"] == "held"
    claims = {claim.text: claim for claim in make_claims(pool_figures([clear(), clear(M3=[2, 2])]))}
    shown = claims["words: M3 > M2 > M1 in true score, with each seed"].figures
    assert shown == "30.0 → 50.0 → 90.0, 30.0 → 50.0 → 40.0"


def test_a_judge_that_falls_below_m1s_interval_has_not_held():
    """M1 orders every set rightly, so that its interval is 1 to 1; M2's 0.5 is below it."""
    worse = replace(clear(), judged={"M1": judged(0, 1, 2), "M2": judged(1, 0, 2), "M3": judged(0, 1, 2)})
    found = outcomes(worse, worse)
    assert found["judge: Spearman of M2 on the fixed set not below the interval of M1"] == "NOT HELD"
    assert found["judge: Spearman of M3 on the fixed set not below the interval of M1"] == "held"


def test_what_was_not_measured_is_not_claimed():
    found = outcomes(replace(clear(), controls={}))
    assert not any("random" in text or "ceiling" in text for text in found)
