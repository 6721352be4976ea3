import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe, SeedData
from selfreward_ray.records import Candidate, Dropped, EvaluatedSet, JudgedPrompt, Pair, Prompt, SftExample
from selfreward_ray.reporting.summary import ModelSummary, Sample, StepSummary
from selfreward_ray.steps.report import report, summarize
from selfreward_ray.steps.status import print_status
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import write_part

RECIPE = Recipe(name="toy", model="m0", iterations=1, seed_data=SeedData(eft=0))


def finish(name: str, folder: Folder, rows: list[Any], record: type[Any], dropped: int = 0, **figures: Any) -> None:
    step = Step(name, folder.uri, {}, {})
    step.is_done()
    step.write(rows, record)
    step.write([Dropped(f"d{i}", name, "too odd") for i in range(dropped)], Dropped, "dropped")
    step.finish(offered=len(rows) + dropped, **figures)


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
        "✓ M1 seed       1 rows, 0 dropped",
        "✓ M2 propose    1 rows, 0 dropped",
        "✓ M1 sft        0 rows, 0 dropped",
        "✓ M1 evaluate   0 rows, 0 dropped",
        "✓ M2 respond    0 rows, 0 dropped",
        "✓ M2 pair       9 rows, 2 dropped",
        "→ M2 dpo        next",  # its rows are encoded examples, not progress
        "· M2 evaluate",
        f"continue with the command that started it, or: selfreward iterate --run-dir {run.uri}",
    ]


def test_status_counts_the_rows_of_an_unfinished_pool_step(run: RunLayout):
    (run.judged(2) / "rows").delete()
    Path(f"{run.judged(2).uri}/manifest.json").unlink()
    write_part(run.judged(2), "rows", [Prompt(f"p{i}", "") for i in range(3)], Prompt, "part-0")
    assert "→ M2 respond    next, 3 rows so far" in status(run)


def test_status_of_a_complete_run_names_its_report(run: RunLayout):
    finish("dpo", run.training(2), [], Pair)
    finish("evaluate", run.evaluation(2), [], EvaluatedSet, metrics=evaluated(None, None))
    assert status(run)[-1] == f"complete; the report is {run.uri}/report.html"
    assert not any(line.startswith(("→", "·")) for line in status(run))


def test_a_summary_has_the_figures_of_the_finished_steps(run: RunLayout):
    """The interval is 60 ± 4."""
    finish("dpo", run.training(2), [], Pair)
    finish("evaluate", run.evaluation(2), [], EvaluatedSet, metrics=evaluated(None, None))
    summary = summarize(run)
    assert summary.name == "toy"
    assert summary.models == (
        ModelSummary("M1", 60.0, 56.0, 64.0, 0.75, 0.5, 0.0, 9.5, pairs=None, evaluated_prompts=4),
        ModelSummary("M2", None, None, None, 0.75, 0.5, 0.0, 9.5, pairs=9, evaluated_prompts=4),
    )
    assert [(s.step, s.model) for s in summary.steps][:2] == [("seed", "M1"), ("propose", "M2")]
    by_name = {(s.step, s.model): s for s in summary.steps}
    assert by_name["pair", "M2"] == StepSummary("pair", "M2", 9, {"too odd": 2}, 0, by_name["pair", "M2"].seconds)
    assert by_name["sft", "M1"].tokens == 700


def test_samples_are_four_pairs_spread_over_the_table(run: RunLayout):
    """Nine pairs, every second one: 0, 2, 4, 6."""
    samples = summarize(run).samples
    assert [s.prompt for s in samples] == [f"Prompt {i}?" for i in (0, 2, 4, 6)]
    assert samples[0] == Sample("M2", "Prompt 0?", "reply 4.5", 4.5, "reply 1.0", 1.0)


def test_a_report_page_is_written_for_a_run_that_is_not_complete(run: RunLayout, tmp_path: Path):
    console = Console(file=StringIO(), width=200)
    report(run.uri, console)
    page = (tmp_path / "report.html").read_text()
    assert "Prompt 4?" in page
    assert "too odd" in page
    assert "M1" in console.file.getvalue()


@pytest.mark.parametrize("show", [print_status, report])
def test_a_folder_of_no_run_is_the_users_error(tmp_path: Path, show: Any):
    with pytest.raises(UserError, match="is no run's folder"):
        show(str(tmp_path))


def test_a_run_without_a_finished_step_has_no_report(tmp_path: Path):
    claim_run(Folder(str(tmp_path)), RECIPE)
    with pytest.raises(UserError, match="no step has been finished yet"):
        report(str(tmp_path))
