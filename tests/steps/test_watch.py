import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.steps.watch import watch
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.tracking.json_lines import JsonLines
from selfreward_ray.tracking.tracker import TrackedRun

RECIPE = Recipe(name="toy", model="m0", iterations=0, seed_data=SeedData(eft=0, held_out=0, source="demo"))


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    made = RunLayout(str(tmp_path))
    claim_run(made.root, RECIPE)
    return made


def finish(layout: RunLayout) -> None:
    for step in plan(RECIPE, layout):
        made = Step(step.name, step.folder.uri, {}, {})
        made.is_done()
        made.finish(offered=0)


def write(layout: RunLayout, losses: list[float], first: int = 1) -> None:
    layout.training(1).write_json("started.json", "…")
    tracker = JsonLines(TrackedRun(layout.uri, "1", "toy", "p", {}))
    for step, loss in enumerate(losses, start=first):
        tracker.metrics("M1/sft", {"loss": loss, "tokens_per_second": 1234.5, "accuracy": 0.5}, step, 0.0)
    tracker.close()


def shown(layout: RunLayout, sleep: Callable[[float], None] | None = None) -> str:
    terminal = sleep is not None
    console = Console(file=StringIO(), width=150, height=60, force_terminal=terminal)
    watch(layout.uri, 5, console, sleep or pytest.fail)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def test_without_a_terminal_the_metrics_of_the_current_step_are_printed_once(layout: RunLayout):
    write(layout, [4.0, 3.0, 2.0, 1.0])
    lines = [line.strip() for line in shown(layout).splitlines()]
    assert lines[0] == "toy: m0 → M1"
    assert lines[1] == "→ M1 seed  next"
    assert lines[2] == "· M1 sft"
    assert re.fullmatch(r"4 done, \d+:\d\d:\d\d ago", lines[3])
    assert lines[4] == "loss 1  tokens per second 1,234  accuracy 50.0 %"
    assert lines[5] == "loss 4 █▆▃▁ 1"


def test_steps_that_came_again_count_once_and_a_long_curve_is_drawn_by_its_means(layout: RunLayout):
    write(layout, [9.0] * 60)
    write(layout, [float(80 - step) for step in range(80)])
    curve = next(line for line in shown(layout).splitlines() if "█" in line)
    assert re.fullmatch(r"loss 80 █[▁▂▃▄▅▆▇█]{38}▁ 1", curve.strip())


def test_what_is_done_anew_is_shown_as_far_as_it_is(layout: RunLayout):
    """A training goes on from an earlier checkpoint; another model answers the prompts of a rejected one."""
    write(layout, [9.0] * 60)
    write(layout, [3.0, 2.0])
    lines = [line.strip() for line in shown(layout).splitlines()]
    assert lines[3].startswith("2 done, ")
    assert lines[5].startswith("loss 3 ")


def test_a_step_that_was_removed_shows_no_metrics_of_its_earlier_self(layout: RunLayout):
    write(layout, [4.0, 3.0])
    layout.training(1).delete()
    assert [line.strip() for line in shown(layout).splitlines()][1:] == ["→ M1 seed  next", "· M1 sft"]


def test_it_ends_when_the_run_is_complete(layout: RunLayout):
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        write(layout, [2.0, 1.0]) if len(waited) == 1 else finish(layout)

    text = shown(layout, sleep)
    assert waited == [5, 5]
    assert "loss 2 █▁ 1" in text
    assert "✓ M1 sft" in text
    assert text.rstrip().endswith(f"complete; the report is {layout.uri}/report.html")


def test_a_folder_that_is_no_run(tmp_path: Path):
    with pytest.raises(UserError, match="is no run's folder"):
        watch(str(tmp_path), 5, Console(file=StringIO()))
