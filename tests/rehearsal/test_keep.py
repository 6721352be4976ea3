"""The files that are kept of a failed rehearsal."""

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest
from pyarrow import fs

from selfreward_ray.cluster.rehearsal.bucket import bucket
from selfreward_ray.cluster.rehearsal.keep import keep


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "kept"))


@pytest.fixture
def folder(tmp_path: Path):
    """A rehearsal's, with a session of Ray's."""
    folder = tmp_path / "r"
    session = folder / "ray" / "session_1"
    (session / "logs").mkdir(parents=True)
    (session / "objects").mkdir()
    (folder / "ray" / "session_latest").symlink_to(session)
    (session / "logs" / "monitor.log").write_text("Failed to launch")
    (session / "objects" / "spilled").write_text("large")
    os.mkfifo(session / "logs" / "pipe")
    (folder / "recipe.yaml").write_text("model: x")
    (folder / "run").mkdir()
    os.mkfifo(folder / "run" / "pipe")
    (folder / "run" / "gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        with contextlib.chdir(folder):  # a socket's path is short
            listening.bind("socket")
        yield folder


def places(said: str) -> dict[str, Path]:
    return {what: Path(where) for what, where in re.findall(r"(\S+) (?:are kept )?in ([^\s,]+)", said)}


def test_rays_logs_are_kept_and_named_without_sockets_and_pipes(folder: Path):
    said = keep(folder, str(folder / "run"), {})
    found = places(said)
    kept = found["recipe"]
    assert found["logs"] == kept / "ray-logs"
    assert sorted(str(path.relative_to(kept)) for path in kept.rglob("*")) == [
        "ray-logs",
        "ray-logs/monitor.log",
        "recipe.yaml",
        "run",
    ]
    assert (kept / "ray-logs" / "monitor.log").read_text() == "Failed to launch"


def test_what_the_run_wrote_to_its_bucket_is_kept(folder: Path, tmp_path: Path):
    pytest.importorskip("moto")
    with bucket("runs", tmp_path / "bucket.log") as environment:
        store = fs.S3FileSystem(
            access_key="nobody",
            secret_key="nothing",
            region="us-east-1",
            scheme="http",
            endpoint_override=environment["AWS_ENDPOINT_URL"].removeprefix("http://"),
        )
        with store.open_output_stream("runs/rehearsal/M1/seed/manifest.json") as stream:
            stream.write(b"{}")
        found = places(keep(folder, "s3://runs/rehearsal", environment))
    assert (found["wrote"] / "M1" / "seed" / "manifest.json").read_text() == "{}"


def test_a_bucket_that_is_gone_does_not_hide_the_error(folder: Path):
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    said = keep(folder, "s3://runs/rehearsal", environment)
    assert "what the run wrote cannot be read any more (" in said
    assert places(said)["logs"].is_dir()
