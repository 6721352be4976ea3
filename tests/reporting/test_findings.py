from dataclasses import replace

import pytest

from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.reporting.findings import Evaluated, Finding, by_models, findings, outcome
from selfreward_ray.reporting.instruments import Instruments


def evaluated(model: str, *scores: float, right: int = 2) -> Evaluated:
    """A model with `scores` on prompts p0, p1, …; as judge it ranks `right` of three pairs of each set correctly."""
    sets = [f"s{number}" for number in range(4)]
    return Evaluated(
        model,
        {f"p{number}": score for number, score in enumerate(scores)},
        dict.fromkeys(sets, right / 3),
        dict.fromkeys(sets, (right, 3)),
    )


M1 = evaluated("M1", 50, 60, 70)
M2 = evaluated("M2", 55, 66, 73)
M3 = evaluated("M3", 40, 65, 80)


def said(*models: Evaluated, scorer: str | None = "demo", held_out: bool = True) -> dict[tuple[str, str], list[str]]:
    """Outcomes and texts by kind and models."""
    found: dict[tuple[str, str], list[str]] = {}
    for finding in findings(models, Instruments(scorer, "M1, the judge of this run"), held_out, 3):
        found.setdefault((finding.kind, finding.models), []).append(f"{finding.outcome}: {finding.text}")
    return found


def test_consecutive_models_are_compared_and_each_with_the_first():
    found = said(M1, M2, M3)
    compared = ["M2 against M1", "M3 against M2", "M3 against M1"]
    assert list(found) == [("Answers", models) for models in compared] + [("Judge", models) for models in compared]


def test_differences_are_stated_in_words():
    """M2 - M1 is 5, 6, 3: mean 4.7, half the interval 1.96·1.528/√3 = 1.7. M3 - M2 is -15, -1, 7."""
    found = said(M1, M2, M3)
    assert found["Answers", "M2 against M1"] == [
        "better: The demo score of M2 is 4.7 percentage points higher than that of M1 (95 % interval +2.9 to +6.4), on "
        "the same 3 held-out prompts."
    ]
    assert found["Answers", "M3 against M2"] == [
        "not significant: The demo score of M3 is 3.0 percentage points lower than that of M2 (95 % interval −15.6 to "
        "+9.6), on the same 3 held-out prompts. The interval includes 0."
    ]


def test_a_worse_judge_is_called_worse():
    found = said(M1, replace(evaluated("M2", 55, 66, 73, right=1)))
    accuracy, spearman = found["Judge", "M2 against M1"]
    assert accuracy.startswith("worse: The pairwise accuracy of M2 is 33.3 percentage points lower than that of M1")
    assert accuracy.endswith("on the same 4 ranked sets.")
    assert spearman.startswith("worse: The Spearman of M2 is 0.333 lower")


def test_equal_models_have_no_interval():
    """Also as judges."""
    found = said(M1, replace(M1, model="M2"))
    assert found["Answers", "M2 against M1"] == [
        "not significant: The demo score of M2 is the same as that of M1 on each of the 3 held-out prompts."
    ]
    assert found["Judge", "M2 against M1"] == [
        f"not significant: The {what} of M2 is the same as that of M1 on each of the 4 ranked sets."
        for what in ("pairwise accuracy", "Spearman")
    ]


def test_a_mean_difference_of_zero_is_not_called_the_same_on_each():
    (text,) = said(evaluated("M1", 50, 60, 70), evaluated("M2", 60, 60, 60))["Answers", "M2 against M1"]
    assert text.startswith("not significant: The demo score of M2 is as high as that of M1 (95 % interval −11.3 to +11")


def test_a_small_interval_has_decimals_enough_to_be_one():
    """One of 10,000 prompts differs, by 1 point: the mean is 0.0001, and half the interval 1.96 · 0.0001."""
    many = [50.0] * 9999
    (text,) = said(evaluated("M1", *many, 50), evaluated("M2", *many, 51))["Answers", "M2 against M1"]
    assert "is 0.0001 percentage points higher than that of M1 (95 % interval −0.0001 to +0.0003)" in text


def test_the_same_difference_on_each_prompt_has_no_interval():
    (text,) = said(evaluated("M1", 50, 60), evaluated("M2", 55, 65))["Answers", "M2 against M1"]
    assert text == (
        "better: The demo score of M2 is 5.0 percentage points higher than that of M1 (the difference is the same on "
        "each, so that it has no interval), on the same 2 held-out prompts."
    )


@pytest.mark.parametrize(
    ("interval", "controlled", "says", "but"),
    [
        ([0.55, 0.8], [0.52, 0.7], "(95 % interval 52.0 to 70.0).", ""),
        ([0.55, 0.8], [0.45, 0.7], "70.0), which is not significant: this interval includes 50 %.",
         "not significant at equal length"),
        ([0.55, 0.8], [0.2, 0.45], "45.0), which is worse: this interval does not include 50 %.",
         "worse at equal length"),
        ([0.2, 0.45], [0.55, 0.8], "80.0), which is better: this", "better at equal length"),
        ([0.45, 0.6], [0.55, 0.8], "80.0), which is better: this", "better at equal length"),
        ([0.45, 0.7], [0.4, 0.7], "70.0).", ""),
        ([0.45, 0.7], [0.3, 0.6], "60.0), on the other side of 50 %.", ""),
    ],
)  # fmt: skip
def test_the_win_rate_at_equal_length_has_its_interval_and_what_it_contradicts(
    interval: list[float], controlled: list[float], says: str, but: str
):
    outcomes = {
        "left": 30, "right": 20, "ties": 10, "left_win_rate": 0.6, "left_win_interval": interval,
        "length_controlled_win_rate": sum(controlled) / 2, "length_controlled_interval": controlled,
    }  # fmt: skip
    found = findings([M1, replace(M2, against={"M1": outcomes})], Instruments(), True, 3)
    (finding,) = [one for one in found if one.kind == "Head to head"]
    assert says in finding.text
    assert finding.but == but


def test_findings_on_the_same_models_stand_together():
    one, two, three = (Finding(kind, models, "better", "") for kind, models in (("a", "x"), ("a", "y"), ("b", "x")))
    assert by_models([one, two, three]) == [("x", [one, three]), ("y", [two])]


@pytest.mark.parametrize(
    ("rate", "interval", "controlled", "said_of_it"),
    [
        (0.7, [0.55, 0.82], 0.6, ("better", "(95 % interval 55.0 to 82.0)", "At equal length it would win 60.0 % (95")),
        (0.3, [0.18, 0.45], None, ("worse", "wins 30.0 % against M1", "ties that count half.")),
        (0.6, [0.48, 0.7], None, ("not significant", "30 wins, 20 losses, and 10 ties", "The interval includes 50 %.")),
    ],
)
def test_a_comparison_by_the_judge_comes_first(
    rate: float, interval: list[float], controlled: float | None, said_of_it: tuple[str, str, str]
):
    outcomes = {
        "left": 30, "right": 20, "ties": 10, "left_win_rate": rate, "left_win_interval": interval,
        "length_controlled_win_rate": controlled, "length_controlled_interval": controlled and [0.52, 0.7],
    }  # fmt: skip
    found = said(replace(M1, scores={}), replace(M2, scores={}, against={"M1": outcomes}), scorer=None)
    assert next(iter(found)) == ("Head to head", "M2 against M1")
    assert ("Answers", "all models") not in found
    (text,) = found["Head to head", "M2 against M1"]
    start, *parts = said_of_it
    assert text.startswith(f"{start}: By M1, the judge of this run, M2 wins")
    assert "on the same 60 held-out prompts" in text
    assert all(part in text for part in parts)


def test_answers_that_no_judge_could_compare_are_not_measured():
    nothing = {"left_win_rate": None}
    (text,) = said(M1, replace(M2, against={"M1": nothing}))["Head to head", "M2 against M1"]
    assert text == "not measured: The judge could compare no answers of the two."


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 1, "better"), (0, 1, "not significant"), (-1, 1, "not significant"), (-1, -0.1, "worse")],
)
def test_an_interval_that_includes_zero_is_not_significant(low: float, high: float, expected: str):
    assert outcome(Estimate((low + high) / 2, (high - low) / 2)) == expected


def test_one_prompt_is_never_significant():
    assert outcome(Estimate(50.0, None)) == "not significant"
    (text,) = said(evaluated("M1", 10), evaluated("M2", 90))["Answers", "M2 against M1"]
    assert "one prompt gives no interval" in text
    assert "includes 0" not in text


def test_without_a_scorer_the_remedy_is_named_and_the_judge_is_compared():
    found = said(replace(M1, scores={}), replace(M2, scores={}), scorer=None)
    assert list(found) == [("Answers", "all models"), ("Judge", "M2 against M1")]
    (text,) = found["Answers", "all models"]
    assert text.startswith("not measured: No judge has compared the answers (evaluation.head_to_head)")


def test_what_was_not_measured_on_common_prompts_is_said():
    (answers,) = said(M1, Evaluated("M2", {"other": 3.0}))["Answers", "M2 against M1"]
    assert answers.startswith("not measured: The scorer demo gave no score")
    judge = said(M1, Evaluated("M2", M2.scores))["Judge", "M2 against M1"]
    assert judge == ["not measured: No held-out set has two replies of different ranks that both models could judge."]


@pytest.mark.parametrize(
    ("models", "held_out", "count", "part"),
    [
        ([M1, M2], False, 3, "set seed_data.held_out"),
        ([], True, 3, "No model is evaluated yet"),
        ([M1], True, 3, "Only M1 is evaluated so far"),
        ([M1], True, 1, "set iterations above 0"),
    ],
)
def test_a_run_with_nothing_to_compare_says_why(models: list[Evaluated], held_out: bool, count: int, part: str):
    (finding,) = findings(models, Instruments("demo"), held_out, count)
    assert finding.outcome == "not measured"
    assert part in finding.text
