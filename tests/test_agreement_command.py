"""`selfreward agreement`: by a model, or of existing scores."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.evaluation.agreement import Judgement, agreement
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.manifest import Manifest

ROWS = [("a", 1, 5), ("a", 2, 3), ("b", 1, 2), ("b", 2, 5), ("c", 1, None), ("c", 2, 1), ("d", 1, 4), ("d", None, 4)]


@pytest.fixture
def scores(tmp_path: Path) -> str:
    """One set right, one wrong, one unreadable, one with a single ranked reply."""
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps({"set_id": s, "rank": r, "score": v}) + "\n" for s, r, v in ROWS))
    return str(path)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: m0\n")
    return str(path)


def test_existing_scores_are_measured_printed_and_written(scores: str, tmp_path: Path):
    result = CliRunner().invoke(app, ["agreement", "--scores", scores, "--json", str(tmp_path / "out.json")])
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert "pairwise accuracy % 33.3 0.0 to 100.0 3 pairs" in shown
    assert "5-best % 50.0 0.0 to 100.0 2 replies with the best score" in shown
    assert "3 sets measured, 1 left out. Sets whose replies all have the same rank are left out." in shown
    assert "with the largest score of the file, 5," in shown
    assert "left out: 1 row without a human rank or score" in shown
    written = json.loads((tmp_path / "out.json").read_text())
    assert set(written) == {"agreement", "max_score", "rows_left_out", "rule"}
    assert (written["max_score"], written["rows_left_out"]) == (5, 1)
    judged = [Judgement(name, rank, score) for name, rank, score in ROWS if rank is not None]
    assert written["agreement"] == json.loads(json.dumps(asdict(agreement(judged, 5))))


def test_the_best_score_may_be_given(scores: str):
    result = CliRunner().invoke(app, ["agreement", "--scores", scores, "--max-score", "10"])
    shown = " ".join(result.stdout.split())
    assert "5-best % – – 0 replies with the best score" in shown
    assert "with the score of --max-score, 10," in shown


def test_existing_scores_need_no_engine(scores: str):
    """Neither Ray nor torch is imported."""
    script = f"""
import sys
from typer.testing import CliRunner
from selfreward_ray.cli import app
assert CliRunner().invoke(app, ["agreement", "--scores", {scores!r}]).exit_code == 0
print([name for name in ("ray", "torch", "vllm", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "titles", "figures"),
    [
        ([], ["with one verdict per reply", "with the mean of 3 verdicts per reply, of which 2 must be readable"], 2),
        (["evaluation.verdicts=1"], ["with one verdict per reply"], 1),
    ],
)
def test_a_model_is_measured_with_one_verdict_and_with_the_loops_own(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], titles: list[str], figures: int
):
    one = asdict(agreement([Judgement("a", 0, 5), Judgement("a", 1, 3)], 5))
    metrics = {"agreement": one, "agreement_of_means": one if figures == 2 else None}

    def spy(recipe: Recipe, **given: str) -> Manifest:
        assert given == {"model": "m", "data": "d.jsonl", "out": "o"}
        return Manifest("agreement", "f", {"rows": 1, "offered": 1}, {"odd": 2}, 0, 0.0, metrics)

    monkeypatch.setattr("selfreward_ray.cluster.session.joined", nullcontext)
    monkeypatch.setattr("selfreward_ray.steps.agreement.agreement", spy)
    asked = ["agreement", recipe, *options, "--model", "m", "--data", "d.jsonl", "--out", "o"]
    result = CliRunner().invoke(app, [*asked, "--json", str(tmp_path / "out.json")])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert [line for line in lines if line.startswith(("with one", "with the mean"))] == titles
    assert "2 dropped: odd" in lines
    assert "with the rubric's best score, 5," in " ".join(lines)
    written = json.loads((tmp_path / "out.json").read_text())
    assert {name: written[name] for name in metrics} == json.loads(json.dumps(metrics))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["{recipe}"],
        ["{recipe}", "--model", "m", "--data", "d"],
        ["{recipe}", "--scores", "{scores}"],
        ["--scores", "{scores}", "--model", "m"],
        ["{recipe}", "--model", "m", "--data", "d", "--out", "o", "--max-score", "5"],
    ],
)
def test_one_of_two_ways_is_asked_for(recipe: str, scores: str, arguments: list[str]):
    words = [word.format(recipe=recipe, scores=scores) for word in arguments]
    result = CliRunner().invoke(app, ["agreement", *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: agreement: give RECIPE with --model, --data and --out to judge ranked")


def test_what_is_wrong_with_a_file_is_one_message(tmp_path: Path):
    (tmp_path / "s.csv").write_text("set_id,rank,score\na,1,4\na,2,good\n")
    result = CliRunner().invoke(app, ["agreement", "--scores", str(tmp_path / "s.csv")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "s.csv:3: field 'score': must be a finite number, or null for none (got 'good')" in result.stderr
