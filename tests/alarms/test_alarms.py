"""Each alarm just within and just beyond its threshold, and where nothing was measured."""

from pathlib import Path
from typing import Any

import pytest
from reported_run import RECIPE, write_run

from selfreward_ray.alarms.check import Fired, _accuracy_change, alarms_of, fired, fired_after
from selfreward_ray.alarms.measures import ALARMS, Finished
from selfreward_ray.alarms.reactions import Reactions
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.loop import STEPS
from selfreward_ray.plan import plan
from selfreward_ray.recipe.alarms import Alarms
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.store.manifest import read_manifest

KINDS = {kind.name: kind for kind in ALARMS}


def agreement(spearman: float, low: float) -> dict[str, Any]:
    return {"spearman": spearman, "intervals": {"spearman": [low, 0.9]}}


def answers(**figures: float) -> dict[str, Any]:
    return {"replies": figures}


def candidates(**figures: Any) -> dict[str, Any]:
    return {"candidates": figures}


def course(**figures: float) -> dict[str, Any]:
    return {"course": figures}


def won(left: int, right: int, ties: int, high: float, first: int = 0) -> dict[str, Any]:
    counts = {"left": left, "right": right, "ties": ties, "first_in_both": first, "second_in_both": 0}
    return {"outcomes": counts | {"left_win_interval": [0.1, high]}}


def change(high: float) -> Any:
    return lambda: Estimate(high - 0.1, 0.1)


CASES: list[tuple[str, Finished, Finished]] = [
    ("judge_at_chance", Finished({"agreement": agreement(0.001, -1)}, judges_on=True),
     Finished({"agreement": agreement(0.0, -1)}, judges_on=True)),
    ("judge_unproven", Finished({"agreement": agreement(0.2, 0.001)}), Finished({"agreement": agreement(0.2, 0.0)})),
    ("judge_worse", Finished({}, accuracy_change=change(0.001)), Finished({}, accuracy_change=change(-0.001))),
    ("score_saturation", Finished({"scores": {"1": 10, "4": 90}}), Finished({"scores": {"1": 9, "4": 91}})),
    ("score_entropy", Finished({"scores": {"1": 12, "4": 88}}), Finished({"scores": {"1": 10, "4": 90}})),
    ("unreadable_verdicts", Finished({"agreement": {"unreadable": 0.3}}), Finished(candidates(unreadable=0.31))),
    ("tied_prompts", Finished(candidates(tied_prompts=0.8)), Finished(candidates(tied_prompts=0.81))),
    ("position_bias", Finished(won(2, 2, 4, 0.6, first=4)), Finished(won(2, 1, 4, 0.6, first=4))),
    ("chosen_length", Finished(candidates(chosen_words=15.0, rejected_words=10.0)),
     Finished(candidates(chosen_words=15.1, rejected_words=10.0))),
    ("answer_length", Finished(answers(mean_words=15.0), answers(mean_words=10.0)),
     Finished(answers(mean_words=15.1), answers(mean_words=10.0))),
    ("unfinished", Finished(answers(unfinished=0.5)), Finished(answers(unfinished=0.51))),
    ("repetitive", Finished(candidates(repetitive=0.3)), Finished(answers(repetitive=0.31))),
    ("diversity", Finished(answers(distinct_2=0.36), answers(distinct_2=0.5)),
     Finished(answers(distinct_2=0.34), answers(distinct_2=0.5))),
    ("duplicates", Finished(candidates(duplicates=0.5)), Finished(candidates(duplicates=0.51))),
    ("loss_rise", Finished(course(loss_rise=2.0)), Finished(course(loss_rise=2.1))),
    ("skipped_steps", Finished({"steps": 20, "skipped_steps": 1}), Finished({"steps": 20, "skipped_steps": 2})),
    ("chosen_logprob", Finished(course(chosen_logprob_fall=0.5)), Finished(course(chosen_logprob_fall=0.51))),
    ("reward_margin", Finished(course(final_margin=0.0)), Finished(course(final_margin=-0.01))),
    ("instant_accuracy", Finished(course(early_accuracy=0.99)), Finished(course(early_accuracy=1.0))),
    ("win_rate", Finished(won(1, 9, 0, 0.5), with_parent=True), Finished(won(1, 9, 0, 0.49), with_parent=True)),
]  # fmt: skip


def alarm(name: str, step: Finished, **settings: Any) -> tuple[Fired, ...]:
    alarms = Alarms.model_validate({name: settings})
    return fired([KINDS[name]], step, alarms, "M2 · some step", 2)


def test_every_alarm_of_the_recipe_is_measured_once_and_tested():
    assert [name for name, _, _ in CASES] == [kind.name for kind in ALARMS]
    assert sorted(KINDS) == sorted(Alarms.model_fields)
    assert {step for kind in ALARMS for step in kind.after} <= set(STEPS)


@pytest.mark.parametrize(("name", "within", "beyond"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_an_alarm_fires_beyond_its_threshold_and_not_at_it(name: str, within: Finished, beyond: Finished):
    assert alarm(name, within) == ()
    (found,) = alarm(name, beyond)
    assert (found.alarm, found.step, found.model) == (name, "M2 · some step", 2)
    assert found.reaction == getattr(Alarms(), name).reaction
    assert "(expected: " in found.text
    assert "{" not in found.text
    assert alarm(name, beyond, reaction="off") == ()
    assert alarm(name, beyond, reaction="rollback")[0].reaction == "rollback"


@pytest.mark.parametrize("kind", ALARMS, ids=lambda kind: kind.name)
def test_what_was_not_measured_fires_nothing(kind: Any):
    """A manifest of an earlier version, or one without anything to measure."""
    nothing = [
        {},
        {"scores": {}, "agreement": {"spearman": None, "unreadable": None, "intervals": {"spearman": None}}},
        {"candidates": dict.fromkeys(["unreadable", "tied_prompts", "chosen_words", "rejected_words"]), "course": {}},
        {"outcomes": {"left": 0, "right": 0, "ties": 0, "left_win_interval": None}, "replies": {"mean_words": None}},
        {"steps": 0, "skipped_steps": 0, "agreement_of_means": None},
    ]
    assert [kind.measure(Finished(metrics, judges_on=True, with_parent=True)) for metrics in nothing] == [None] * 5


def test_a_message_has_value_threshold_and_remedy():
    (found,) = alarm("score_saturation", Finished({"scores": {"5": 97, "4": 3}}), threshold=0.95)
    assert found.text.startswith("97.0 % of the verdicts have the same score (expected: at most 95.0 %). The judge")
    assert "another judge.rubric in a new run." in found.text
    assert (found.value, found.threshold) == (0.97, 0.95)


def test_a_remedy_does_not_name_the_reaction_that_is_set():
    step = Finished(won(1, 9, 0, 0.49), with_parent=True)
    remedies = {reaction: alarm("win_rate", step, reaction=reaction)[0].text.split("). ")[1] for reaction in REACTIONS}
    reject = "Reject the model (alarms.win_rate.reaction=rollback), or lower dpo.learning_rate in a new run."
    assert remedies == {"warn": reject, "stop": reject, "rollback": "Lower dpo.learning_rate in a new run."}


REACTIONS = ("warn", "stop", "rollback")


def test_several_verdicts_are_measured_as_the_loop_averages_them():
    metrics = {"agreement": agreement(-0.1, -1), "agreement_of_means": agreement(0.1, -1)}
    assert alarm("judge_at_chance", Finished(metrics, judges_on=True)) == ()


def test_a_judge_at_chance_is_not_called_unproven_too():
    assert alarm("judge_unproven", Finished({"agreement": agreement(-0.1, -0.5)})) == ()


def test_a_model_that_judges_no_candidates_is_no_matter_of_the_gate():
    assert alarm("judge_at_chance", Finished({"agreement": agreement(-1, -1)}, judges_on=False)) == ()


def test_only_the_comparison_with_the_model_before_counts():
    assert alarm("win_rate", Finished(won(1, 9, 0, 0.4), with_parent=False)) == ()


def test_the_alarms_of_a_run_follow_from_its_files(tmp_path: Path):
    """Answers of M2 are longer than those of M1; M3's pairs are the step of which M2 is to blame."""
    layout = write_run(tmp_path, RECIPE)
    steps = plan(RECIPE, layout)
    found = {(a.alarm, a.step, a.model) for a in alarms_of(steps, RECIPE, layout)}
    assert ("answer_length", "M2 · evaluate", 2) in found
    manifest = read_manifest(layout.pairs(3))
    assert manifest is not None
    (pairs,) = [step for step in steps if step.label == "M3 · pairs"]
    pairs.folder.write_json("manifest.json", vars(manifest) | {"metrics": candidates(duplicates=0.9)})
    assert [(a.alarm, a.model) for a in fired_after(pairs, RECIPE, layout)] == [("duplicates", 2)]
    pairs.folder.filesystem()[0].delete_file(f"{pairs.folder.filesystem()[1]}/manifest.json")
    assert fired_after(pairs, RECIPE, layout) == ()


def test_the_judges_paired_difference_is_read_from_both_evaluations(tmp_path: Path):
    """Later models rank more sets as humans did, so M1 after M2 is what fires."""
    layout = write_run(tmp_path, RECIPE)
    evaluate = {s.model: s for s in plan(RECIPE, layout) if s.name == "evaluate"}
    low = RECIPE.model_copy(update={"alarms": Alarms.model_validate({"judge_worse": {"threshold": 1.0}})})
    (fired,) = [a for a in fired_after(evaluate["M2"], low, layout) if a.alarm == "judge_worse"]
    change = _accuracy_change(layout, 2)
    assert change is not None
    assert change.mean > 0
    assert fired.value == change.high
    assert "judge_worse" not in [a.alarm for a in fired_after(evaluate["M2"], RECIPE, layout)]
    assert "judge_worse" not in [a.alarm for a in fired_after(evaluate["M1"], low, layout)]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alarms.win_rate.reaction=panic", "alarms.win_rate.reaction"),
        ("alarms.unfinished.threshold=2", "alarms.unfinished.threshold"),
        ("alarms.unfinished.threshold=off", "to turn the alarm off, set its reaction to off"),
        ("alarms.win_rate=stop", "an alarm has the fields threshold and reaction: set its reaction"),
        ("alarms.win_rte.reaction=off", "did you mean 'alarms.win_rate'"),
    ],
)
def test_a_wrong_setting_is_named(override: str, message: str):
    with pytest.raises(ValueError, match=message):
        load_recipe("quickstart", [override])


def test_off_is_a_reaction_though_yaml_reads_it_as_false():
    assert load_recipe("quickstart", ["alarms.win_rate.reaction=off"]).alarms.win_rate.reaction == "off"


def test_the_command_that_goes_on_can_be_typed(tmp_path: Path):
    """The recipe in a bucket cannot be named, so what the run has beyond the user's own recipe is."""
    layout = write_run(tmp_path / "a run", RECIPE)
    reactions = Reactions([], RECIPE, layout)
    local = f"'{layout.uri}/recipe.yaml' --run-dir '{layout.uri}'"
    assert reactions._command(layout.uri) == f"selfreward run {local}"
    away = f"selfreward run RECIPE --run-dir s3://bucket/run iterations={RECIPE.iterations}"
    assert reactions._command("s3://bucket/run") == away
    fewer = RECIPE.model_copy(update={"iterations": RECIPE.iterations - 1})
    shorter = f"selfreward run {local} iterations={fewer.iterations}"
    assert Reactions([], fewer, layout)._command(layout.uri) == shorter
