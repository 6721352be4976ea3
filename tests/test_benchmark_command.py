"""`selfreward benchmark`: what the step is given, and what is shown of it."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.cli.running import run_on_cluster
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.manifest import Manifest

ROW = {
    "task": "gsm8k", "group": None, "metric": "exact_match", "filter": "strict-match", "value": 0.25,
    "standard_error": 0.0119, "few_shot": 8, "documents": 1319,
}  # fmt: skip
DEFAULTS = {"tasks_dir": None, "limit": None, "few_shot": None, "chat_template": False}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ([], {}),
        (
            ["--tasks-dir", "mine", "--limit", "9", "--few-shot", "8", "--chat-template"],
            {"tasks_dir": "mine", "limit": 9, "few_shot": 8, "chat_template": True},
        ),
    ],
)
def test_the_options_reach_the_step_and_its_figures_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], given: dict[str, Any]
):
    def spy(recipe: Recipe, **settings: Any) -> Manifest:
        assert recipe.seed == 5
        assert settings.pop("run") is run_on_cluster
        assert settings == {"model": "m", "tasks": ["gsm8k", "ifeval"], "out": "o/", **DEFAULTS, **given}
        return Manifest("benchmark", "f", {}, {}, 0, 0.0, {"figures": [ROW]})

    (tmp_path / "recipe.yaml").write_text("model: m0\n")
    monkeypatch.setattr("selfreward_ray.steps.benchmark.benchmark", spy)
    asked = ["benchmark", str(tmp_path / "recipe.yaml"), "seed=5", "--model", "m", "--tasks", "gsm8k,ifeval"]
    result = CliRunner().invoke(app, [*asked, *options, "--out", "o/"])
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert "gsm8k exact_match, strict-match 0.2500 0.0119 8 1,319" in shown
    assert shown.endswith("lm-eval's results: o/results.json")
