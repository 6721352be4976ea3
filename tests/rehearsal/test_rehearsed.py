"""The combined result of a rehearsal's two attempts, without a cluster."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_ray.cluster.rehearsal import rehearse as rehearsing
from selfreward_ray.cluster.rehearsal.reduce import StandIns
from selfreward_ray.cluster.rehearsal.rehearse import INTERRUPTED, Rehearsed
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.text import parse_recipe

RECIPE = parse_recipe({"model": "none", "seed_data": {"source": "demo"}})
TYPES = {
    "head": {"resources": {"CPU": 8}},
    "gpu": {"resources": {"CPU": 8}, "min_workers": 1, "max_workers": 3},
}
Attempt = Callable[[str], tuple[int, dict[str, Any] | None]]


def step(label: str, **seen: Any) -> dict[str, Any]:
    return {"label": label, "seconds": 1.0, "started": [], "used": [], "ended": [], "waits": {}} | seen


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rehearsed]:
    """A rehearsal whose driver is a function: from the step to be killed in to its status, and what it saw."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rehearsing, "_need_cpu_engine", lambda: None)
    monkeypatch.setattr(rehearsing, "_make_up", lambda *_: (StandIns("none", "none", "demo", "demo"), []))
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"head_node_type": "head", "max_workers": 3, "available_node_types": TYPES}))

    @contextmanager
    def no_raylets(shape: Any, idle: float, environment: dict[str, str], ray_folder: Path) -> Iterator[dict[str, str]]:
        logs = ray_folder / "session_latest" / "logs"
        logs.mkdir(parents=True)
        (logs / "monitor.log").write_text("Failed to launch")
        yield environment

    monkeypatch.setattr(rehearsing, "raylets", no_raylets)

    def run(attempt: Attempt, environment: Callable[[dict[str, str]], None] = lambda _: None) -> Rehearsed:
        def drive(command: list[str], env: dict[str, str], **_: Any) -> "subprocess.CompletedProcess[str]":
            _recipe, _out, seen, _idle, least, kill_in = command[3:]
            environment(env)
            assert json.loads(least) == {"gpu": 1}
            status, found = attempt(kill_in)
            if found is not None:
                Path(seen).write_text(json.dumps({"left": [], "unseen": []} | found))
            return subprocess.CompletedProcess(command, status)

        monkeypatch.setattr(subprocess, "run", drive)
        return rehearsing.rehearse(RECIPE, str(file), None)

    return run


def test_a_run_that_was_killed_goes_on_in_another_process(rehearsed: Any):
    kills: list[str] = []

    def attempt(kill_in: str) -> tuple[int, dict[str, Any]]:
        kills.append(kill_in)
        return (-signal.SIGKILL if kill_in else 0), {"steps": [step(INTERRUPTED)]}

    found = rehearsed(attempt)
    assert kills == [INTERRUPTED, ""]
    assert len(found.steps) == 2
    assert found.interrupted
    assert not found.faulty


def test_settings_of_another_ray_do_not_reach_the_rehearsal(rehearsed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("OF_THIS_USER", "1")
    seen: list[dict[str, str]] = []

    def attempt(_: str) -> tuple[int, dict[str, Any]]:
        return 0, {"steps": []}

    rehearsed(attempt, seen.append)
    assert seen[0]["OF_THIS_USER"] == "1"
    assert "RAY_ADDRESS" not in seen[0]


def test_a_run_without_the_step_is_not_killed_and_it_is_said(rehearsed: Any):
    kills: list[str] = []

    def attempt(kill_in: str) -> tuple[int, dict[str, Any]]:
        kills.append(kill_in)
        return 0, {"steps": [step("M1 · SFT")]}

    found = rehearsed(attempt)
    assert kills == [INTERRUPTED]
    assert not found.interrupted
    assert not found.faulty


def test_nodes_that_min_workers_keeps_are_no_fault_used_or_not(rehearsed: Any):
    left = ["gpu/1", "gpu/2"]

    def found(steps: list[Any], left: list[str]) -> Rehearsed:
        return rehearsed(lambda kill_in: (-9 if kill_in else 0, {"steps": steps, "left": left}))  # type: ignore[no-any-return]

    one = found([step("M1 · SFT", started=["gpu/1"])], ["gpu/1"])
    assert (one.kept, one.left, one.idle, one.faulty) == (["gpu/1"], [], [], False)
    two = found([step("M1 · SFT", started=left, used=["gpu/1"])], left)
    assert (two.kept, two.left, two.idle) == (["gpu/2"], ["gpu/1"], [])
    gone = found([step("M1 · SFT", started=left, used=["gpu/1"], ended=["gpu/2"])], ["gpu/1"])
    assert (gone.kept, gone.left) == (["gpu/1"], [])
    assert set(gone.idle) == {"gpu/2 (M1 · SFT)"}


def test_what_could_not_be_seen_is_a_fault(rehearsed: Any):
    steps = {"steps": [step(INTERRUPTED)], "unseen": ["which nodes are used, for the last 30 s: no answer"]}
    found = rehearsed(lambda kill_in: (-9 if kill_in else 0, steps))
    assert found.unseen == steps["unseen"]
    assert found.faulty


@pytest.mark.parametrize("status", [2, -signal.SIGKILL])
def test_a_run_that_fails_leaves_its_recipe_and_rays_logs(rehearsed: Any, tmp_path: Path, status: int):
    """Killed by another, as where memory is short, it has said nothing of what it saw."""
    with pytest.raises(UserError) as failed:
        rehearsed(lambda _: (status, None))
    (kept,) = tmp_path.glob("rehearsal-failed-*")
    assert str(failed.value) == (
        f"the rehearsed run ended with status {int(status)}; its folder and recipe are kept in {kept}, Ray's logs in "
        f"{kept}/ray-logs"
    )
    assert (kept / "recipe.yaml").is_file()
    assert (kept / "ray-logs" / "monitor.log").read_text() == "Failed to launch"
    assert not (kept / "ray").exists()
