"""The driver process of a rehearsal, without a cluster: when it kills itself, and which nodes it waits for."""

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray

from selfreward_ray.cluster.rehearsal import drive
from selfreward_ray.cluster.rehearsal import watch as watching
from selfreward_ray.cluster.rehearsal.raylets import NODE_TYPE
from selfreward_ray.reporting import progress


class Killed(Exception):
    """In the place of the signal."""


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the driver over a loop that is only its steps' progress; returns its status and what it saw."""
    labels = ["M1 · SFT", "M2 · pairs", "M2 · pairs and more", "M2 · DPO"]

    def run(*_: Any) -> None:
        for label in labels:
            with progress.Progress(label, 1, "steps"):
                pass

    def kill(process: int, number: int) -> None:
        assert (process, number) == (os.getpid(), signal.SIGKILL)
        raise Killed

    monkeypatch.setattr(drive, "joined", nullcontext)
    monkeypatch.setattr(drive, "load_recipe", lambda path: path)
    monkeypatch.setattr(drive.loop, "run", run)
    monkeypatch.setattr(drive.os, "kill", kill)
    monkeypatch.setattr(ray, "nodes", lambda: [])
    monkeypatch.setattr(progress, "listeners", [])
    monkeypatch.setattr(watching, "_LOOK_EVERY", 60)

    def main(kill_in: str, kept: dict[str, int] | None = None) -> tuple[int | None, dict[str, Any]]:
        seen = tmp_path / "seen.json"
        try:
            status: int | None = drive.main("recipe.yaml", "run", str(seen), "0", json.dumps(kept or {}), kill_in)
        except Killed:
            status = None
        return status, json.loads(seen.read_text())

    return main


def test_it_is_killed_where_the_step_begins_though_that_waits_for_nothing(driven: Any):
    status, seen = driven("M2 · pairs")
    assert status is None
    assert [(step["label"], step["seconds"] is None) for step in seen["steps"]] == [
        ("M1 · SFT", False),
        ("M2 · pairs", True),
    ]


@pytest.mark.parametrize("kill_in", ["", "M2", "M3 · pairs"])
def test_no_other_step_is_killed(driven: Any, kill_in: str):
    status, seen = driven(kill_in)
    assert status == 0
    assert len(seen["steps"]) == 4


def test_nodes_that_the_cluster_keeps_are_not_waited_for(driven: Any, monkeypatch: pytest.MonkeyPatch):
    node = {"NodeID": "f" * 50 + "00001", "Alive": True, "Labels": {NODE_TYPE: "gpu"}, "Resources": {}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    slept: list[float] = []
    monkeypatch.setattr(drive.time, "sleep", slept.append)
    monkeypatch.setattr(drive, "_LET_GO_WITHIN", 0.05)
    status, seen = driven("", {"gpu": 1})
    assert (status, seen["left"], slept) == (0, ["gpu/1"], [])
    driven("", {"gpu": 0})
    assert slept
