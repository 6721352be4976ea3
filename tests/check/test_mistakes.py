"""Each mistake has its message, without a traceback, a cluster, or anything left behind."""

from pathlib import Path

import pytest
from mistakes import MISTAKES, Mistake, make
from typer.testing import CliRunner

from selfreward_ray.cli import app


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.about}: {mistake.what}")
def test_a_mistake_is_said_and_nothing_is_left_behind(
    mistake: Mistake, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    def joined() -> None:
        raise AssertionError("a cluster is started")

    monkeypatch.setattr("selfreward_ray.cluster.session.joined", joined)
    monkeypatch.setattr("selfreward_ray.check.findings.LIMIT_S", 60)  # other tests have the cores for seconds
    for name, value in mistake.environment.items():
        monkeypatch.setenv(name, value)
    make(mistake, tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, list(mistake.arguments))
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert mistake.message in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.strip()]) == 1, "other problems than the one made"
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_mistake_there_is_none(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    make(Mistake("recipe", "none", ""), tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["check", "recipe.yaml", "--run-dir", "run"])
    assert result.exit_code == 0, result.output
