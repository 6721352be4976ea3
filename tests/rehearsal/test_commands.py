"""Ray and the S3 server are started as modules of this interpreter: their scripts may be elsewhere or missing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.cluster.cluster_file import Shape
from selfreward_ray.cluster.rehearsal.bucket import bucket
from selfreward_ray.cluster.rehearsal.raylets import raylets


class Started(Exception):
    """With the command, in the place of a process."""


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch):
    def start(command: list[str], **_: Any) -> None:
        raise Started([str(part) for part in command])

    monkeypatch.setattr(subprocess, "Popen", start)


@pytest.mark.parametrize("where", ["given", None])
def test_rays_head_keeps_its_session_where_it_is_told(tmp_path: Path, where: str | None):
    folder = tmp_path / where if where else None
    with pytest.raises(Started) as started, raylets(Shape({"CPU": 1, "a": 2}, {}, 0), 10, {}, folder):
        pass
    (command,) = started.value.args
    assert command[:4] == [sys.executable, "-m", "ray.scripts.scripts", "start"]
    assert '--resources={"a": 2}' in command
    (temporary,) = [part.removeprefix("--temp-dir=") for part in command if part.startswith("--temp-dir=")]
    assert (temporary == str(folder)) == (folder is not None)


def test_the_s3_server_is_a_module(tmp_path: Path):
    pytest.importorskip("moto")
    with pytest.raises(Started) as started, bucket("runs", tmp_path / "log"):
        pass
    (command,) = started.value.args
    assert command[:3] == [sys.executable, "-m", "moto.server"]
