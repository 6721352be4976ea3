"""Models that are rejected: what the run does instead, what it records, and what is shown of it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_loop import SOUND, SmallLoop

from selfreward_ray import loop
from selfreward_ray.alarms.reactions import StoppedByAlarm
from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.report import report
from selfreward_ray.steps.status import print_status
from selfreward_ray.steps.watch import watch
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.rejection import Rejection, read_rejections, write_rejection
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import next_iteration

DESTROYED = SOUND | {"loss_rise": 7.5}
LOSING = {"win_rate": {"reaction": "rollback"}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    return SmallLoop(tmp_path, monkeypatch)


def shown(call: Any, *arguments: Any) -> str:
    printed = io.StringIO()
    call(*arguments, Console(file=printed, width=200))
    return printed.getvalue()


def rejection(model: int, since: int, step: str) -> Rejection:
    return Rejection(model, since, "win_rate", step, 0.3, 0.5, "It loses.")


def planned(*rejections: Rejection, iterations: int = 2) -> list[tuple[str, str, str | None]]:
    """Label, folder and model of the steps after the first model."""
    recipe = Recipe(model="m0", iterations=iterations)
    steps = plan(recipe, RunLayout("run", rejections))
    first = [step.name for step in steps].index("sft")
    return [(s.label, s.folder.uri.removeprefix("run/"), s.inputs.get("model")) for s in steps[first + 1 :]]


def test_without_rejected_models_each_starts_from_the_one_before():
    models = {label: (folder, model) for label, folder, model in planned()}
    assert models["M3 · respond and judge"] == ("M3/judged", "run/M2/model")
    assert models["M3 · DPO"] == ("M3/training", "run/M2/model")


@pytest.mark.parametrize(
    ("step", "tested"),
    [
        ("M2 · DPO", []),
        ("M2 · evaluate", ["M2 · evaluate"]),
        ("M2 · against M1", ["M2 · evaluate", "M1 · score answers", "M2 · score answers", "M2 · against M1"]),
        ("M3 · pairs", ["M2 · evaluate", "M1 · score answers", "M2 · score answers", "M2 · against M1"]),
    ],
)
def test_the_next_model_starts_from_the_one_before_a_rejected_one(step: str, tested: list[str]):
    """The rejected model is tested no further; its successor has its own prompts, and other folders for candidates."""
    steps = planned(rejection(2, 3, step))
    of_m2 = [label for label, folder, _ in steps if folder.startswith(("M2/eval", "M2/scored", "M2/against", "M1/sc"))]
    scored_later = [] if "M1 · score answers" in tested else ["M1 · score answers"]
    assert sorted(of_m2) == sorted([*tested, *scored_later])
    models = {label: (folder, model) for label, folder, model in steps}
    assert models["M3 · respond and judge"] == ("M3/judged-by-M1", "run/M1/model")
    assert models["M3 · pairs"][0] == "M3/pairs-by-M1"
    assert models["M3 · DPO"] == ("M3/training", "run/M1/model")
    assert [label for label, _, _ in steps if label.startswith("M3 · against")] == ["M3 · against M1"]
    labels = [label for label, _, _ in steps]
    assert labels.index("M1 · score answers") < labels.index("M3 · against M1")
    assert len(set(labels)) == len(labels)


def test_models_that_a_rejected_one_had_made_before_keep_it_as_their_parent():
    """M3 was made from M2. It is rejected, and then M2 is, for the candidates that it made for M4."""
    rejections = (rejection(2, 4, "M4 · pairs"), rejection(3, 4, "M3 · evaluate"))
    layout = RunLayout("run", rejections)
    assert [layout.parent(t) for t in (2, 3, 4)] == [1, 2, 1]
    models = {label: (folder, model) for label, folder, model in planned(*rejections, iterations=3)}
    assert models["M3 · DPO"] == ("M3/training", "run/M2/model")
    assert models["M4 · respond and judge"] == ("M4/judged-by-M1", "run/M1/model")


def test_records_are_read_in_order_and_damage_is_named(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    assert layout.current() == layout
    for model in (10, 2):
        write_rejection(layout.root, rejection(model, model + 1, "M2 · evaluate"))
    assert [r.model for r in read_rejections(layout.root)] == [2, 10]
    assert layout.current().rejection(10) == rejection(10, 11, "M2 · evaluate")
    assert layout.current().rejection(3) is None
    (tmp_path / "M2" / "rejected.json").write_text("{")
    with pytest.raises(UserError, match=r"M2/rejected.json is damaged .* remove the file"):
        layout.current()


def test_a_losing_model_is_rejected_and_the_next_starts_from_the_one_before(
    run: SmallLoop, capsys: pytest.CaptureFixture[str]
):
    """M2 wrote candidates for M3 already, beside its evaluation; they stay, and M1 writes others."""
    run.answers["M2"] = 1
    run.run(run.recipe(alarms=LOSING))
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M1")]
    record = json.loads((Path(run.layout.uri) / "M2" / "rejected.json").read_text())
    assert (record["model"], record["since"], record["alarm"], record["step"]) == (2, 3, "win_rate", "M2 · against M1")
    assert record["value"] < record["threshold"] == 0.5
    assert {model for model, row in run.asked if row.startswith("M3/")} == {"M1", "M2"}
    assert {"judged", "judged-by-M1", "pairs-by-M1"} <= {p.name for p in (Path(run.layout.uri) / "M3").iterdir()}
    assert "M3 · against M2" not in run.finished()
    assert "M2 is rejected by the alarm win_rate; the run goes on from M1" in capsys.readouterr().err


def test_a_destroyed_model_is_neither_evaluated_nor_asked(run: SmallLoop):
    run.courses["M2"] = DESTROYED
    run.run(run.recipe(alarms={"loss_rise": {"reaction": "rollback"}}))
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M1")]
    assert "M2" not in {model for model, _ in run.asked}
    assert "M3 · against M1" in run.finished()


def test_bad_candidates_reject_the_model_that_wrote_them(run: SmallLoop, monkeypatch: pytest.MonkeyPatch):
    """M2 gives every candidate for M3 one score; M3 is made of M1's candidates instead."""
    say = run._say

    def level(model: str, text: str, row: str) -> str:
        return "Score: 3" if model == "M2" and row.startswith("M3/") and "/v" in row else say(model, text, row)

    monkeypatch.setattr(run, "_say", level)
    run.run(run.recipe(alarms={"tied_prompts": {"reaction": "rollback"}}))
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M1")]
    (found,) = read_rejections(run.layout.root)
    assert (found.model, found.since, found.alarm, found.step) == (2, 3, "tied_prompts", "M3 · pairs")
    summary = report(run.layout.uri, Console(file=io.StringIO()))
    assert [(a.alarm, a.step, a.reaction) for a in summary.alarms] == [("tied_prompts", "M3 · pairs", "rollback")]
    assert [a.taken for a in summary.alarms] == ["M2 is rejected"]


def test_the_first_model_has_none_before_it(run: SmallLoop):
    run.courses["M1"] = DESTROYED
    with pytest.raises(StoppedByAlarm, match=r"stopped after M1 · SFT .*alarms\.loss_rise\.reaction=warn"):
        run.run(run.recipe(alarms={"loss_rise": {"reaction": "rollback"}}))
    assert read_rejections(run.layout.root) == ()
    assert [a.taken for a in report(run.layout.uri, Console(file=io.StringIO())).alarms] == ["the run is stopped"]


def test_where_the_last_model_is_rejected_the_model_to_use_is_named(run: SmallLoop):
    run.answers["M3"] = 1
    run.run(run.recipe(alarms=LOSING))
    assert run.trained[-1] == ("M3", "M2")
    note = "The last model is rejected: use M2 (M2/model in the run's folder)."
    said = shown(report, run.layout.uri)
    assert note in said
    assert "M3 is rejected by the alarm win_rate after M3 · against M2" in said
    assert "alarm win_rate after M3 · against M2: the answers lose" in said
    assert "reaction=rollback" not in said, "it is set already"
    lines = [line.rstrip() for line in said.splitlines()]
    assert lines[1] == note
    assert "M3 against M2  M3 is rejected by the alarm win_rate: use M2." in lines
    (answer,) = [line for line in lines if line.startswith("Use M2, because M3 is rejected; ")]
    page = (Path(run.layout.uri) / "report.html").read_text().replace("&#39;", "'")
    header = page.split("</header>")[0]
    assert note in header
    assert answer in header
    assert '<h3>M3 against M2</h3>\n    <p class="warning">M3 is rejected by the alarm win_rate: use M2.</p>' in page
    assert '<h3>M2 against M1</h3>\n    <p class="warning">' not in page
    assert ">M3 is rejected</td>" in page
    assert note in shown(print_status, run.layout.uri)
    assert note in shown(watch, run.layout.uri, 5.0)
    assert "complete; the report is" in shown(print_status, run.layout.uri)


def test_the_report_compares_a_model_with_the_one_that_it_was_trained_from(run: SmallLoop):
    run.answers["M2"] = 1
    run.run(run.recipe(alarms=LOSING))
    summary = report(run.layout.uri, Console(file=io.StringIO()))
    compared = {finding.models for finding in summary.findings}
    assert compared == {"M2 against M1", "M3 against M1"}
    assert [(i.model, i.judge) for i in summary.iterations] == [("M2", "M1"), ("M3", "M1")]
    page = (Path(run.layout.uri) / "report.html").read_text()
    assert "judged by M1 for M3" in page
    assert "M2 is rejected by the alarm win_rate" in page


@pytest.mark.parametrize("at", ["M2 · against M1", "M3 · respond and judge", "M3 · DPO"])
def test_an_interruption_anywhere_near_a_rollback_changes_nothing(
    run: SmallLoop, monkeypatch: pytest.MonkeyPatch, at: str
):
    """Before the alarm is looked at, while M1 writes other candidates, and when M3 is to be trained."""
    run.answers["M2"] = 1
    recipe = run.recipe(alarms=LOSING)
    after = loop.Reactions.after
    calls: list[str] = []

    def interrupted(self: Any, step: Any, fresh: bool) -> None:
        calls.append(step.label)
        # The second time that M3's candidates are finished they are M1's.
        if fresh and step.label == at and calls.count(at) == (2 if "respond" in at else 1):
            raise KeyboardInterrupt
        after(self, step, fresh)

    monkeypatch.setattr(loop.Reactions, "after", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(recipe)
    monkeypatch.setattr(loop.Reactions, "after", after)
    run.run(recipe)
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M1")]
    assert [r.step for r in read_rejections(run.layout.root)] == ["M2 · against M1"]
    assert run.finished()[-1] == "M3 · against M1"
    asked = len(run.asked)
    run.run(recipe)
    assert len(run.asked) == asked


def test_a_reaction_that_is_changed_later_leaves_the_past_alone(run: SmallLoop, capsys: pytest.CaptureFixture[str]):
    """M2 lost with a warning and M3 was trained from it: neither a stop nor a rollback undoes that."""
    run.answers["M2"] = 1
    run.run(run.recipe())
    assert "alarm win_rate after M2 · against M1: the answers lose" in capsys.readouterr().err
    for reaction in ("stop", "rollback"):
        run.run(run.recipe(alarms={"win_rate": {"reaction": reaction}}))
        alarms = report(run.layout.uri, Console(file=io.StringIO())).alarms
        taken = {(alarm.alarm, alarm.step): alarm.taken for alarm in alarms}
        assert taken["win_rate", "M2 · against M1"] == "none: a later model was trained already"
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M2")]
    assert read_rejections(run.layout.root) == ()
    assert "win_rate" not in capsys.readouterr().err


def test_a_model_that_an_iteration_beyond_the_recipe_was_made_from_is_not_rejected(run: SmallLoop):
    run.answers |= {"M2": 1}
    run.run(run.recipe())
    run.run(run.recipe(alarms=LOSING).model_copy(update={"iterations": 1}))
    assert read_rejections(run.layout.root) == ()


@pytest.mark.parametrize("record", [rejection(1, 2, "M1 · evaluate"), rejection(3, 4, "x"), rejection(2, 2, "x")])
def test_a_record_that_can_not_be_is_damaged(tmp_path: Path, record: Rejection):
    """M1 has no model before it, the file lies in the folder of its model, and a model is not made from itself."""
    write_rejection(Folder(str(tmp_path)), record)
    folder = tmp_path / ("M1" if record.model == 1 else "M2")
    if not folder.exists():
        (tmp_path / f"M{record.model}").rename(folder)
    with pytest.raises(UserError, match="records no rejection of this model.; remove the file"):
        RunLayout(str(tmp_path)).current()


def test_another_iteration_starts_from_the_model_that_is_left(run: SmallLoop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "check_capacity", lambda request: None)
    run.answers |= {"M3": 1, "M4": 5}
    run.answer_words["M4"] = 10
    run.run(run.recipe(alarms=LOSING))
    recipe, iteration = next_iteration(run.layout, [])
    loop.run(recipe, run.layout.uri, iteration)
    assert run.trained[-1] == ("M4", "M2")
    assert "M4 · against M2" in run.finished()


def test_without_held_out_sets_the_gate_says_that_it_measures_nothing(
    run: SmallLoop, capsys: pytest.CaptureFixture[str]
):
    loop.advise(run.recipe(seed_data={"held_out": 0}))
    said = "nothing shows whether the judge is better than chance (seed_data.held_out is 0)"
    assert capsys.readouterr().err.count(said) == 1
    loop.advise(run.recipe(seed_data={"held_out": 0}, alarms={"judge_at_chance": {"reaction": "off"}}))
    loop.advise(run.recipe(seed_data={"held_out": 0}).model_copy(update={"iterations": 0}))
    loop.advise(run.recipe())
    assert said not in capsys.readouterr().err
