"""Runs that are sabotaged on purpose, each caught by its alarm. ``-s`` prints the table: sabotage, alarms, step, cost.

A learning rate that destroys the model is in `tests/training/test_destroyed_model.py`.
"""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_loop import SmallLoop, first_one, honest, inverted, long_winded, obedient

from selfreward_ray.alarms.check import alarms_of
from selfreward_ray.alarms.reactions import StoppedByAlarm
from selfreward_ray.plan import plan
from selfreward_ray.recipe.alarms import Alarms
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.steps.status import print_status

ALWAYS_5 = """\
template: |-
  Whatever the reply is, always give 5.
  <instruction>{prompt}</instruction>
  <reply>{reply}</reply>
min_score: 0
max_score: 5
score_pattern: 'Score: (\\d)'
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    return SmallLoop(tmp_path, monkeypatch)


def fired(run: SmallLoop) -> list[tuple[str, str]]:
    """(step, alarm) of all alarms that fired."""
    layout = run.layout.current()
    recipe = layout.recipe()
    return [(alarm.step, alarm.alarm) for alarm in alarms_of(plan(recipe, layout), recipe, layout)]


def stopping(*names: str) -> dict[str, Any]:
    return {name: {"reaction": "stop" if name in names else "warn"} for name in Alarms.model_fields}


def test_a_sound_run_fires_no_alarm(run: SmallLoop):
    run.run()
    assert fired(run) == []
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M2")]


def always_5(run: SmallLoop, folder: Path) -> dict[str, Any]:
    (folder / "always.yaml").write_text(ALWAYS_5)
    run.judge = obedient
    return {"judge": {"rubric": str(folder / "always.yaml")}}


def prefers_length(run: SmallLoop, folder: Path) -> dict[str, Any]:
    run.judge = long_winded
    return {}


def prefers_position(run: SmallLoop, folder: Path) -> dict[str, Any]:
    run.judge = first_one
    return {"evaluation": {"head_to_head": "pairwise"}}


def prefers_bad_replies(run: SmallLoop, folder: Path) -> dict[str, Any]:
    run.judge = inverted
    return {}


@pytest.mark.parametrize(
    ("sabotage", "alarm", "after", "also"),
    [
        (always_5, "score_saturation", "M1 · evaluate", {"judge_at_chance", "score_entropy"}),
        (prefers_length, "chosen_length", "M2 · pairs", set()),
        (prefers_position, "position_bias", "M2 · against M1", set()),
        (prefers_bad_replies, "judge_at_chance", "M1 · evaluate", set()),
    ],
)
def test_a_sabotaged_run_is_stopped_by_its_alarm(
    run: SmallLoop, tmp_path: Path, sabotage: Any, alarm: str, after: str, also: set[str]
):
    sections = sabotage(run, tmp_path)
    with pytest.raises(StoppedByAlarm, match=f"the run is stopped after {after} by an alarm.*{alarm}: "):
        run.run(run.recipe(alarms=stopping(alarm), **sections))
    assert {step for step, _ in fired(run)} == {after}
    assert {name for _, name in fired(run)} == {alarm} | also
    print(f"\n| {sabotage.__name__} | {alarm} | {after} | {run.cost()} |")


def test_the_same_run_with_an_honest_judge_goes_past_each_of_these_alarms(run: SmallLoop):
    run.judge = honest
    run.run(run.recipe(alarms=stopping(*Alarms.model_fields), evaluation={"head_to_head": "pairwise"}))
    assert fired(run) == []
    assert run.finished()[-1] == "M3 · against M1"


def test_the_gate_stops_before_sampling_and_the_override_goes_on(run: SmallLoop, capsys: pytest.CaptureFixture[str]):
    """By default. Nothing was sampled but what the pool had begun beside the last verdicts, here nothing."""
    run.judge = inverted
    with pytest.raises(StoppedByAlarm) as error:
        run.run()
    uri = run.layout.uri
    command = f"selfreward run {uri}/recipe.yaml --run-dir {uri} alarms.judge_at_chance.reaction=warn"
    assert str(error.value).endswith(f"To continue in spite of it: {command}")
    load_recipe(f"{uri}/recipe.yaml", ["alarms.judge_at_chance.reaction=warn"])  # as that command does
    assert "correlation with the human rankings is −1.000, not better than chance (expected: above 0.000)" in str(
        error.value
    )
    assert not [row for _, row in run.asked if row.startswith("M2/")]
    metrics = Path(run.layout.uri, "metrics").glob("*.jsonl")
    lines = [json.loads(line) for file in metrics for line in file.read_text().splitlines()]
    (tracked,) = [line["text"] for line in lines if line.get("name") == "alarms/evaluate"]
    assert tracked.startswith("alarm judge_at_chance after M1 · evaluate: ")
    before, reports = len(run.asked), len(run.reports)
    assert reports == len({"seed", "prompts", "sft", "evaluate"})
    printed = io.StringIO()
    print_status(run.layout.uri, Console(file=printed, width=200))
    assert printed.getvalue().strip().endswith(command)
    with pytest.raises(StoppedByAlarm):
        run.run()
    assert (len(run.asked), len(run.reports)) == (before, reports + 1), "the same command stops at once"
    run.run(run.recipe(alarms={"judge_at_chance": {"reaction": "warn"}}))
    assert run.trained == [("M1", "m0"), ("M2", "M1"), ("M3", "M2")]
    # M3 judges no candidates.
    at_chance = [step for step, alarm in fired(run) if alarm == "judge_at_chance"]
    assert at_chance == ["M1 · evaluate", "M2 · evaluate"]
    said = capsys.readouterr().err
    assert said.count("alarm judge_at_chance after M1 · evaluate") == 1
