import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from reported_run import finish, with_policy, without_scorer, write_run
from rich.console import Console

from selfreward_ray.alarms.reactions import StoppedByAlarm
from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Candidate, Comparison, Dropped, EvaluatedSet, JudgedPrompt, Pair, Prompt, SftExample
from selfreward_ray.reporting.summary import ModelSummary, SharedReply, StepSummary
from selfreward_ray.steps.export import export
from selfreward_ray.steps.report import read_report, report, update_report
from selfreward_ray.steps.status import print_status, progress_of
from selfreward_ray.store.attempt import recorded
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.tables import write_part
from selfreward_ray.tracking.json_lines import JsonLines
from selfreward_ray.tracking.tracker import TrackedRun

RECIPE = Recipe(name="toy", model="m0", iterations=1, seed_data=SeedData(eft=0))


def evaluated(score: float | None, margin: float | None) -> dict[str, Any]:
    agreement = {"pairwise_accuracy": 0.75, "spearman": 0.5, "unreadable": 0.0}
    replies = {"score": score, "score_margin": margin, "mean_words": 9.5, "count": 4}
    return {"agreement": agreement, "replies": replies}


def pair(number: int) -> Pair:
    chosen, rejected = (Candidate(f"r{m}", f"reply {m}", (1,), True, mean=m) for m in (4.5, 1.0))
    return Pair(f"p{number}/pair", f"Prompt {number}?", (1,), chosen, rejected)


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    """M1 is trained and evaluated; M2 has pairs but is not trained yet."""
    layout = RunLayout(str(tmp_path))
    claim_run(layout.root, RECIPE)
    finish("seed", layout.seed(), [SftExample("s", "ift", "p", "t")], SftExample)
    finish("sft", layout.training(1), [], SftExample, tokens=700)
    finish("evaluate", layout.evaluation(1), [], EvaluatedSet, metrics=evaluated(60.0, 4.0))
    finish("propose", layout.prompts(2), [Prompt("p", "t")], Prompt)
    finish("respond", layout.judged(2), [], JudgedPrompt)
    finish("pair", layout.pairs(2), [pair(i) for i in range(9)], Pair, dropped=2)
    return layout


def status(layout: RunLayout) -> list[str]:
    """The printed lines, without the seconds of steps."""
    console = Console(file=StringIO(), width=200)
    print_status(layout.uri, console)
    return [re.sub(r", \d+ s$", "", line.rstrip()) for line in console.file.getvalue().splitlines()]


def test_status_shows_what_is_done_and_what_is_next(run: RunLayout):
    write_part(run.training(2), "rows", [Prompt(f"p{i}", "") for i in range(3)], Prompt, "part-0")
    assert status(run) == [
        "toy: m0 → M2",
        "not at work",
        "✓ M1 seed           1 row, 0 dropped",
        "✓ M2 propose        1 row, 0 dropped",
        "✓ M1 sft            0 rows, 0 dropped",
        "✓ M1 evaluate       0 rows, 0 dropped",
        "✓ M2 respond        0 rows, 0 dropped",
        "✓ M2 pair           9 rows, 2 dropped",
        "→ M2 dpo            next",  # its rows are encoded examples, not progress
        "· M2 evaluate",
        "· M1 score answers",
        "· M2 score answers",
        "· M2 against M1",
        f"the command that started it continues it, or selfreward iterate --run-dir {run.uri}",
    ]


def test_status_counts_the_rows_of_an_unfinished_pool_step(run: RunLayout):
    (run.judged(2) / "rows").delete()
    Path(f"{run.judged(2).uri}/manifest.json").unlink()
    write_part(run.judged(2), "rows", [Prompt(f"p{i}", "") for i in range(3)], Prompt, "part-0")
    assert "→ M2 respond        begun, 3 rows so far" in status(run)


CONTINUES = "the command that started it continues it, or selfreward iterate --run-dir "


def attempt(layout: RunLayout, error: BaseException | None = None) -> None:
    """An attempt of this process, which ends by `error`, where there is one."""
    with suppress(BaseException), recorded(layout.root, lambda: True, stops=(StoppedByAlarm,)):
        if error is not None:
            raise error


def test_status_of_a_run_at_work_says_by_whom_since_when_and_where(run: RunLayout):
    for folder in (run.prompts(2), run.judged(2)):
        folder.remove("manifest.json")
    asked = [Prompt(f"M2/p{i:06d}", "") for i in range(12)]
    finish("propose", run.prompts(2), asked, Prompt)
    write_part(run.judged(2), "rows", asked[:3], Prompt, "a")
    write_part(run.judged(2), "dropped", [Dropped(row.id, "respond", "odd") for row in asked[3:5]], Dropped, "a")
    attempt(run, ValueError("an earlier attempt"))
    with owned(run.root):
        lines = status(run)
    since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    at = "at M2 · respond and judge, row 5 of 12"
    assert re.fullmatch(rf"running: process {os.getpid()} on \S+ since {since}; {at}", lines[1])
    assert not any(line.startswith(CONTINUES) for line in lines)


def test_the_place_of_a_step_is_what_it_last_wrote_and_no_block_is_opened(run: RunLayout):
    run.judged(2).remove("manifest.json")
    (run.judged(2) / "blocks" / "rows").write_bytes("a.parquet", b"no table")
    run.judged(2).write_json("so-far.json", {"done": 7})
    (run.prompts(2) / "rows").delete()  # its manifest counts them
    (step,) = (step for step in plan(run.recipe(), run) if step.label == "M2 · respond and judge")
    assert progress_of(step, run) == ", row 7 of 1"
    assert "→ M2 respond        begun, 7 rows so far" in status(run)


def test_the_place_of_each_kind_of_step(run: RunLayout):
    steps = {step.label: step for step in plan(run.recipe(), run)}
    training = steps["M2 · DPO"]
    assert progress_of(training, run) == ""
    training.folder.write_json("started.json", "")
    write_part(training.folder, "rows", [Prompt(f"p{i}", "") for i in range(100)], Prompt, "part-0")
    assert progress_of(training, run) == ""
    tracker = JsonLines(TrackedRun(run.uri, "1", "toy", "p", {}))
    for step in range(1, 4):
        tracker.metrics("M2/dpo", {"loss": 1.0}, step, 0.0)
        tracker.metrics("M1/sft", {"loss": 1.0}, 90 + step, 0.0)
    tracker.close()
    assert progress_of(training, run) == ", optimizer step 3 of 7"
    proposals = steps["M2 · prompts"]
    write_part(proposals.folder / "proposals", "rows", [Prompt("p", "")], Prompt, "part-0")
    assert progress_of(proposals, run) == ", 1 proposal so far"
    assert progress_of(steps["M2 · pairs"], run) == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, r"stopped at {at}: {who}; its command had finished"),
        (KeyboardInterrupt(), r"stopped at {at}: {who}; interrupted"),
        (StoppedByAlarm("alarms.judge stops it"), r"stopped at {at}: {who}; alarms.judge stops it"),
        (UserError("no room\x1b[31m"), r"failed at {at}: {who}\nno room␛\[31m"),
        (RuntimeError("lost rows"), r"failed at {at}: {who}\nRuntimeError: lost rows"),
    ],
)
def test_status_says_how_the_last_attempt_ended(run: RunLayout, error: BaseException | None, said: str):
    attempt(run, UserError("an earlier one"))
    attempt(run, error)
    at = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    lines = status(run)
    shown = "\n".join(lines[1 : 2 + said.count(r"\n")])
    assert re.fullmatch(said.format(at=at, who=rf"process {os.getpid()} on \S+ since {at}"), shown)
    assert lines[-1].startswith(CONTINUES)


def test_a_process_that_was_killed_has_stopped_without_a_word(run: RunLayout):
    script = """
import os, signal, sys
from selfreward_ray.store.attempt import recorded
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
run = Folder(sys.argv[1])
with owned(run) as is_owner, recorded(run, is_owner):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", script, run.uri])
    assert process.wait() == -9
    said = f"stopped without a record (it was killed, or its machine was lost): process {process.pid} on "
    assert status(run)[1].startswith(said)


def test_a_run_that_fails_when_all_its_steps_are_finished_has_failed(tmp_path: Path):
    layout = write_run(tmp_path)
    attempt(layout, OSError(28, "No space left on device"))
    lines = status(layout)
    assert lines[2] == "OSError: [Errno 28] No space left on device"
    assert not any(line.startswith("complete") for line in lines)
    attempt(layout)
    assert lines[3:-1] == status(layout)[1:-1]
    assert status(layout)[-1].startswith("complete; ")


@pytest.mark.parametrize("content", ["", "{", "null", "{}", '{"process": "p", "how": "tired"}'])
def test_a_damaged_record_of_an_attempt_hides_nothing_else(run: RunLayout, content: str):
    run.root.write_bytes("attempt.json", content.encode())
    assert status(run)[1] == "not at work"


def test_status_of_a_complete_run_names_its_report(run: RunLayout):
    finish("dpo", run.training(2), [], Pair)
    finish("evaluate", run.evaluation(2), [], EvaluatedSet, metrics=evaluated(None, None))
    for name, folder in (("judge", run.scored(1)), ("judge", run.scored(2)), ("head_to_head", run.against(2, 1))):
        finish(name, folder, [], JudgedPrompt)
    assert status(run)[-1] == f"complete; the report is {run.uri}/report.html"
    assert not any(line.startswith(("→", "·")) for line in status(run))


def test_a_summary_has_the_figures_of_the_finished_steps(run: RunLayout):
    """The interval is 60 ± 4."""
    finish("dpo", run.training(2), [], Pair)
    finish("evaluate", run.evaluation(2), [], EvaluatedSet, metrics=evaluated(None, None))
    summary, _ = read_report(run)
    assert summary.name == "toy"
    assert summary.models == (
        ModelSummary("M1", 60.0, 56.0, 64.0, 0.75, 0.5, 0.0, 9.5, pairs=None, evaluated_prompts=4),
        ModelSummary("M2", None, None, None, 0.75, 0.5, 0.0, 9.5, pairs=9, evaluated_prompts=4),
    )
    assert [(s.step, s.model) for s in summary.steps][:2] == [("seed", "M1"), ("propose", "M2")]
    by_name = {(s.step, s.model): s for s in summary.steps}
    assert by_name["pair", "M2"] == StepSummary("pair", "M2", 9, {"too odd": 2}, 0, by_name["pair", "M2"].seconds)
    assert by_name["sft", "M1"].tokens == 700


def test_a_report_of_a_whole_run_has_every_part(tmp_path: Path):
    layout = write_run(tmp_path)
    summary, data = read_report(layout)
    assert summary.unfinished == ()
    pairs = ["M2 against M1", "M3 against M2", "M3 against M1"]
    compared = [f"{kind} {models}" for kind in ("Head to head", "Answers") for models in pairs]
    assert [f"{f.kind} {f.models}" for f in summary.findings][:6] == compared
    assert {f.outcome for f in summary.findings if f.kind in ("Head to head", "Answers")} == {"better"}
    assert [(i.model, i.judge, i.prompts) for i in summary.iterations] == [("M2", "M1", 40), ("M3", "M2", 40)]
    assert [training.title for training in summary.trainings] == ["M1 · SFT", "M2 · DPO", "M3 · DPO"]
    assert {"dpo.learning_rate", "respond.candidates"} <= {difference.field for difference in summary.differences}
    assert summary.versions["ray"]
    assert data.total == data.shown == {"M2": 40, "M3": 40}
    assert {step.engine_start_seconds for step in summary.steps if step.step == "respond"} == {12.0}


OUTCOMES = {
    "left": 8, "right": 2, "ties": 2, "left_win_rate": 0.75, "left_win_interval": [0.45, 0.92],
    "length_controlled_win_rate": None, "length_controlled_interval": None, "first_in_both": 2, "second_in_both": 0,
}  # fmt: skip


def add_comparison(layout: RunLayout, name: str, left: str, right: str, **outcomes: Any) -> None:
    metrics = {"model": "gpt-judge", "left": left, "right": right, "outcomes": OUTCOMES | outcomes}
    finish("compare", layout.comparisons / name, [], Comparison, metrics=metrics)


def test_a_comparison_in_the_runs_folder_is_reported_apart_from_the_loops_own(tmp_path: Path):
    """Also one with the answers of a model from elsewhere. One that is not finished is left out."""
    layout = write_run(tmp_path)
    plain = read_report(layout)[0].findings
    last, base = layout.evaluation(3).uri, layout.evaluation(1).uri
    add_comparison(layout, "against-base", last, "/elsewhere/base/answers", left_win_interval=[0.55, 0.9])
    add_comparison(layout, "paper-judge", last, base)
    (layout.comparisons / "under-way").write_json("started.json", "…")
    console = Console(file=StringIO(), width=300)
    summary = report(layout.uri, console)
    assert summary.findings[: len(plain)] == plain
    first, second = summary.findings[len(plain) :]
    assert (first.kind, first.models, first.outcome) == (
        "Comparison", "against-base: M3 against base/answers", "better"
    )  # fmt: skip
    assert first.text == (
        "By the judge gpt-judge, M3 wins 75.0 % against base/answers (95 % interval 55.0 to 90.0), on the same 12 "
        "prompts: 8 wins, 2 losses, and 2 ties that count half."
    )
    assert (second.models, second.outcome) == ("paper-judge: M3 against M1", "not significant")
    page = (tmp_path / "report.html").read_text()
    for shown in (
        "against-base: M3 against base/answers",
        ' title="/elsewhere/base/answers">base/answers<',
        "gpt-judge",
    ):
        assert shown in page
    assert "says little" not in page
    assert str(tmp_path) not in re.sub(r' title="[^"]*"', "", page)
    printed = [line.strip() for line in console.file.getvalue().splitlines()]
    compared = printed[printed.index("paper-judge: M3 against M1") + 1]
    assert compared.startswith("not significant  comparison: By the judge gpt-judge")
    assert printed[-1] == (
        "M3 is better than M1 by head to head and demo score; as a judge: not significant; against-base: M3 against "
        "base/answers: better; paper-judge: M3 against M1: not significant; 3 alarms fired (answer_length, diversity)."
    )
    assert "under-way" not in page


def test_a_comparison_that_the_order_decided_says_little(tmp_path: Path):
    """Above the alarm's threshold, half of the comparisons, and not at it. The judge's name is short too."""
    layout = write_run(tmp_path, until=2)
    sides = layout.evaluation(2).uri, layout.evaluation(1).uri
    add_comparison(layout, "even", *sides, ties=10, first_in_both=9, second_in_both=1)
    add_comparison(layout, "biased", *sides, ties=14, first_in_both=13, second_in_both=1)
    manifest = layout.comparisons / "biased"
    metrics = manifest.read_json("manifest.json")["metrics"] | {"model": layout.model(1).uri}
    manifest.write_json("manifest.json", manifest.read_json("manifest.json") | {"metrics": metrics})
    report(layout.uri, Console(file=StringIO()))
    biased, even = read_report(layout)[0].findings[-2:]
    assert biased.text.startswith("By the judge M1, M2 wins 75.0 % against M1 ")
    said = (
        "This says little: the order of presentation decided 58.3 % of the comparisons, which count as ties "
        "(alarms.position_bias expects at most 50.0 %)."
    )
    assert biased.text.endswith(said)
    assert "says little" not in even.text
    page = (tmp_path / "report.html").read_text()
    assert page.count(said) == 2
    assert f"biased: {said}" in page
    assert str(tmp_path) not in re.sub(r' title="[^"]*"', "", page)


def test_what_is_no_comparison_is_left_out_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The report of a run does not depend on what users put beside its steps."""
    layout = write_run(tmp_path, until=2)
    add_comparison(layout, "mine", layout.evaluation(2).uri, layout.evaluation(1).uri)
    finish("judge", layout.comparisons / "other", [], JudgedPrompt)
    assert [added.name for added in read_report(layout)[0].comparisons] == ["mine"]
    said = " ".join(capsys.readouterr().err.split())
    assert "comparisons/other holds a 'judge' step, but a 'compare' step is needed here; move it out of" in said
    manifest = layout.comparisons / "mine"
    manifest.write_json("manifest.json", manifest.read_json("manifest.json") | {"metrics": {}})
    assert read_report(layout)[0].comparisons == ()


def test_a_comparison_that_was_added_answers_whether_answers_were_compared(tmp_path: Path):
    recipe = without_scorer()
    uncompared = recipe.evaluation.model_copy(update={"head_to_head": "none"})
    layout = write_run(tmp_path, recipe.model_copy(update={"evaluation": uncompared}), until=2)
    missing = "No judge has compared the answers"
    assert any(missing in finding.text for finding in read_report(layout)[0].findings)
    add_comparison(layout, "mine", layout.evaluation(2).uri, layout.evaluation(1).uri)
    assert not any(missing in finding.text for finding in read_report(layout)[0].findings)


@pytest.mark.parametrize(
    ("step", "metrics", "name"),
    [
        ("M1/evaluation", {}, "replies: score, score_margin"),
        ("M1/evaluation", {"replies": {"score": 1.0}}, "replies: score, score_margin"),
        ("M2/evaluation", {"replies": evaluated(1.0, None)["replies"]}, "agreement: "),
        ("M2/against-M1", {"outcomes": {"left": 1}}, "outcomes: left, right, ties"),
    ],
)
def test_a_manifest_without_figures_is_said_with_the_remedy(
    tmp_path: Path, step: str, metrics: dict[str, Any], name: str
):
    layout = write_run(tmp_path, until=2)
    manifest = layout.root / step
    manifest.write_json("manifest.json", manifest.read_json("manifest.json") | {"metrics": metrics})
    said = f"{step}/manifest.json has no figures of this version .{name}.*remove that folder and make the step again"
    with pytest.raises(UserError, match=said):
        report(layout.uri, Console(file=StringIO()))


def test_samples_are_four_pairs_of_each_model_spread_over_the_table(tmp_path: Path):
    samples = read_report(write_run(tmp_path))[0].samples
    assert [sample.model for sample in samples] == ["M2"] * 4 + ["M3"] * 4
    assert len({(sample.prompt, sample.chosen) for sample in samples}) == 8
    assert all(sample.chosen_mean > sample.rejected_mean for sample in samples)


def test_without_a_scorer_the_page_names_the_remedy(tmp_path: Path):
    recipe = without_scorer()
    uncompared = recipe.evaluation.model_copy(update={"head_to_head": "none"})
    layout = write_run(tmp_path, recipe.model_copy(update={"evaluation": uncompared}), until=2)
    report(layout.uri, Console(file=StringIO()))
    page = (tmp_path / "report.html").read_text()
    assert "No judge has compared the answers (evaluation.head_to_head)" in page
    assert "Answers: score with its 95 % interval" not in page


def test_a_policy_without_pairs_has_a_report_too(tmp_path: Path):
    layout = write_run(tmp_path, with_policy("positive-only"), until=2)
    summary, data = read_report(layout)
    assert summary.samples == ()
    assert data.total == {"M2": 40}
    report(layout.uri, Console(file=StringIO()))
    assert "trained on by SFT" in (tmp_path / "report.html").read_text()


def test_an_iteration_without_any_pair_has_a_report_too(tmp_path: Path):
    """Every reply is the same text, so no pair can be made."""
    layout = write_run(tmp_path, until=2, text=lambda text: "the same" if text.startswith("About") else text)
    (iteration,) = read_report(layout)[0].iterations
    assert "pair" not in iteration.outcomes
    assert iteration.outcomes["no lower candidate differs in text"] > 10
    assert iteration.chosen_words is None
    report(layout.uri, Console(file=StringIO()))
    assert "no lower candidate differs in text" in (tmp_path / "report.html").read_text()


def test_a_recipe_that_holds_nothing_out_has_a_report_too(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    text = (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("held_out: 12", "held_out: 0"))
    summary, _ = read_report(layout)
    assert [finding.outcome for finding in summary.findings] == ["not measured"]
    assert "evaluate" not in {step.step for step in summary.steps}


def test_what_models_wrote_is_shown_as_text(tmp_path: Path):
    layout = write_run(tmp_path, until=2, text=lambda text: f"<script>alert(1)</script> עברית {text}")
    report(layout.uri, Console(file=StringIO()))
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; עברית" in page


def test_a_report_page_is_written_for_a_run_that_is_not_complete(tmp_path: Path):
    console = Console(file=StringIO(), width=200)
    report(write_run(tmp_path, until=1).uri, console)
    page = (tmp_path / "report.html").read_text()
    assert "This run is not complete. Next: M2 · respond and judge" in page
    assert "Only M1 is evaluated so far" in page
    assert "No candidates are judged yet." in page
    assert "M1" in console.file.getvalue()


def test_an_update_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    update_report(write_run(tmp_path, until=1))
    assert (tmp_path / "report.html").is_file()
    assert capsys.readouterr() == ("", "")


def test_an_update_that_fails_is_one_line_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    layout = write_run(tmp_path, until=2)
    for path in (tmp_path / "M2" / "judged" / "rows").iterdir():
        path.write_bytes(b"damaged\x1b[31m")
    capsys.readouterr()  # what writing the run printed
    update_report(layout)
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("the report could not be written and the run continues (M2 · respond and judge: ")
    assert "is damaged" in line


def truncate(folder: Path) -> str:
    path = min(folder.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    return path.name


@pytest.mark.parametrize(
    ("table", "label"),
    [
        ("M1/seed/rows", "M1 · seed data"),
        ("M2/judged/rows", "M2 · respond and judge"),
        ("M2/judged/dropped", "M2 · respond and judge"),
        ("M2/pairs/rows", "M2 · pairs"),
        ("M2/pairs/dropped", "M2 · pairs"),
        ("M2/evaluation/rows", "M2 · evaluate"),
        ("M2/evaluation/scores", "M2 · evaluate"),
        ("M2/against-M1/rows", "M2 · against M1"),
    ],
)
@pytest.mark.parametrize("damage", ["removed", "truncated", "one file less"])
def test_rows_that_are_damaged_or_not_there_are_named_with_the_remedy(
    tmp_path: Path, table: str, label: str, damage: str
):
    layout = write_run(tmp_path, until=2)
    folder, step = tmp_path / table, re.escape(str((tmp_path / table).parent))
    if damage == "removed":
        shutil.rmtree(folder)
        said = rf"{re.escape(str(folder))} holds 0 of the [1-9]\d* rows that the step counted; put back its files"
    elif damage == "truncated":
        said = rf"{re.escape(str(folder / truncate(folder)))} is damaged \([^\n]*\); put back a copy of the file"
    else:
        min(folder.glob("*.parquet")).unlink()
        said = rf"{re.escape(str(folder))} holds \d+ of the [1-9]\d* rows that the step counted; put back its files"
    said += rf", or remove {step} and make that step again"
    with pytest.raises(UserError, match=f"^{re.escape(label)}: {said}$"):
        report(layout.uri, Console(file=StringIO()))
    assert not (tmp_path / "report.html").exists()
    shown = status(layout)
    assert [line for line in shown if re.fullmatch(f"{re.escape(label)}: {said}", line)] == shown[-1:]
    with pytest.raises(UserError, match=f"^{said}$"):
        export(str(folder.parent), str(tmp_path / "out.jsonl"))


def test_damage_within_a_file_is_named_too(tmp_path: Path):
    """The footer is whole, so the number of rows is known."""
    layout = write_run(tmp_path, until=2)
    path = min((tmp_path / "M2" / "judged" / "rows").glob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(path.name)} is damaged .*make that step again"):
        report(layout.uri, Console(file=StringIO()))


@pytest.mark.parametrize("show", [print_status, report])
def test_a_folder_of_no_run_is_the_users_error(tmp_path: Path, show: Any):
    with pytest.raises(UserError, match="is no run's folder: it has no recipe.yaml; `selfreward run` makes one"):
        show(str(tmp_path))


@pytest.mark.parametrize("place", ["report.html", "M1", "M1/", "M1/evaluation/rows"])
@pytest.mark.parametrize("show", [print_status, report])
def test_what_is_in_a_run_is_named_with_the_runs_folder(run: RunLayout, show: Any, place: str):
    run.root.write_bytes("report.html", b"")
    with pytest.raises(UserError, match=f"/{place} is no run's folder: .*; the run's folder is {run.uri}$"):
        show(f"{run.uri}/{place}")


def test_a_recipe_file_above_is_no_run(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("model: m0\n")
    with pytest.raises(UserError, match="`selfreward run` makes one"):
        report(str(tmp_path / "runs"))


def test_a_run_without_a_finished_step_has_no_report(tmp_path: Path):
    claim_run(Folder(str(tmp_path)), RECIPE)
    with pytest.raises(UserError, match="no step has been finished yet"):
        report(str(tmp_path))


def test_status_and_report_say_how_many_replies_were_flagged_and_why(run: RunLayout):
    shared = [{"text": "I cannot say.", "prompts": 6, "is_answer": False}]
    metrics = {"flagged": {"the same text for many prompts": 6, "a repetition of the question": 1}}
    pairs = run.pairs(2)
    manifest = pairs.read_json("manifest.json")
    pairs.write_json("manifest.json", manifest | {"metrics": metrics | {"shared_texts": shared}})
    [line] = [line for line in status(run) if "M2 pair" in line]
    assert re.sub(r", \d+ s,", ",", line) == (
        "✓ M2 pair           9 rows, 2 dropped, 7 replies flagged (6 the same text for many prompts; 1 a "
        "repetition of the question)"
    )
    [iteration] = read_report(run)[0].iterations
    assert iteration.shared == (SharedReply("I cannot say.", 6, False),)
