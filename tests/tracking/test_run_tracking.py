"""What the trackers of a run are told, by what is in its folder afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
from event_files import scalars

from selfreward_ray import extensions
from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedReply, EvaluatedSet
from selfreward_ray.reporting import progress
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.tracking.json_lines import MetricsReader
from selfreward_ray.tracking.run import numbers, tracked

RECIPE = Recipe.model_validate({"model": "m0", "iterations": 1, "seed_data": {"source": "demo", "verdicts": "written"}})


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    made = RunLayout(str(tmp_path / "run"))
    claim_run(made.root, RECIPE)
    return made


def follow(layout: RunLayout, recipe: Recipe = RECIPE) -> Any:
    return tracked(recipe, layout, plan(recipe, layout))


def lines(layout: RunLayout) -> list[tuple[str, int, dict[str, float]]]:
    return [(line["series"], line["step"], line["values"]) for line in MetricsReader(layout.uri).new()]


def test_every_step_of_a_run_has_a_label_of_its_own(tmp_path: Path):
    recipe = RECIPE.model_copy(
        update={"iterations": 3, "seed_data": RECIPE.seed_data.model_copy(update={"verdicts": "baseline"})}
    )
    labels = [step.label for step in plan(recipe, RunLayout(str(tmp_path)))]
    assert len(set(labels)) == len(labels)


def test_metrics_of_a_step_under_way_are_a_series_of_its_model(layout: RunLayout):
    with follow(layout), Progress("M2 · DPO", 10, "steps") as shown:
        shown.record({"step": 3, "loss": 0.5, "skipped": False}, at=4)
    assert lines(layout) == [("M2/dpo", 4, {"loss": 0.5, "skipped": 0.0})]
    assert scalars(Path(layout.uri) / "tensorboard") == [("M2/dpo/loss", 4, 0.5), ("M2/dpo/skipped", 4, 0.0)]


def test_a_finished_step_is_a_point_of_its_series_at_its_model(layout: RunLayout):
    """A step that ends without a manifest, because it failed, is none."""
    with follow(layout):
        with pytest.raises(KeyError), Progress("M2 · pairs", 1, "prompts"):
            raise KeyError
        with Progress("M2 · respond and judge", 1, "prompts"):
            made = Step("respond", layout.judged(2).uri, {}, {})
            made.is_done()
            metrics = {"scores": {"4": 2, "10": 1}, "prefix_hit_rate": None, "verdicts": 3}
            made.finish(offered=0, tokens=12, metrics=metrics)
    ((series, number, values),) = lines(layout)
    assert (series, number, values.pop("seconds") >= 0) == ("respond", 2, True)
    assert values == {"rows": 0, "dropped": 0, "tokens": 12, "scores/4": 2, "scores/10": 1, "verdicts": 3}
    assert (Path(layout.uri) / "metrics" / "figures" / "respond-scores-2.png").is_file()


def test_answers_of_a_models_evaluation_are_a_table(layout: RunLayout):
    with follow(layout), Progress("M1 · evaluate", 1, "prompts"):
        made = Step("evaluate", layout.evaluation(1).uri, {}, {})
        made.is_done()
        made.write([EvaluatedSet("s0", EvaluatedReply("s0/a", "Why?", "So.", True), ())], EvaluatedSet)
        made.finish(offered=1, metrics={"agreement": {"spearman": 0.5}})
    assert lines(layout)[0][:2] == ("evaluate", 1)
    assert lines(layout)[0][2]["agreement/spearman"] == 0.5
    (file,) = (Path(layout.uri) / "metrics").glob("*.jsonl")
    (table,) = [line for line in map(json.loads, file.read_text().splitlines()) if "rows" in line]
    assert (table["name"], table["step"], table["rows"]) == ("evaluate/answers", 1, [["Why?", "So."]])


def test_a_run_that_is_continued_keeps_its_identity(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    opened: list[Any] = []

    class Opened:
        def __init__(self, run: Any) -> None:
            opened.append(run)

        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    monkeypatch.setattr(extensions, "_load", lambda group, name, field: Opened)
    for _ in range(2):
        with follow(layout):
            pass
    first, second = opened
    assert first == second
    assert first.id.isalnum()
    assert first.recipe["model"] == "m0"


def test_a_finished_run_opens_no_tracker_again(layout: RunLayout, monkeypatch: pytest.MonkeyPatch):
    """TensorBoard would leave an empty event file each time."""
    for step in plan(RECIPE, layout):
        made = Step(step.name, step.folder.uri, {}, {})
        made.is_done()
        made.finish(offered=0)
    with follow(layout), Progress("M2 · DPO", 10, "steps") as shown:
        shown.record({"loss": 0.5}, at=4)
    assert not (Path(layout.uri) / "tensorboard").exists()
    assert not (Path(layout.uri) / "metrics").exists()
    (layout.pairs(2)).delete()
    with follow(layout):
        pass
    assert (Path(layout.uri) / "tensorboard").exists()


def test_a_tracker_that_cannot_be_opened_ends_the_run_before_it_begins(layout: RunLayout, monkeypatch: Any):
    def broken(run: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(extensions, "_load", lambda group, name, field: broken)
    with pytest.raises(UserError, match="tracking.trackers: 'tensorboard': ConnectionError: no route"), follow(layout):
        raise AssertionError("the run began")
    assert progress.recorders == []
    assert progress.listeners == []


def test_other_peoples_progress_is_not_of_the_run(layout: RunLayout):
    with follow(layout), Progress("compare", 10, "pairs") as shown:
        shown.record({"loss": 1.0}, at=1)
    assert lines(layout) == []


def test_numbers_in_metrics_have_paths():
    metrics = {"a": 1, "b": {"c": 0.5, "d": None, "e": "text", "f": {"g": True}}, "h": [1, 2]}
    assert numbers(metrics) == {"a": 1.0, "b/c": 0.5, "b/f/g": 1.0}
