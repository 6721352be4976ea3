import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfreward_ray.cluster.address import cluster_address, refuse_a_dead_cluster
from selfreward_ray.cluster.session import joined
from selfreward_ray.errors import UserError


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a cluster that ended: nobody listens there."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_where_no_cluster_is_refused_at_once(gone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*refused.*unset RAY_ADDRESS"), joined():
        pass


def test_a_port_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:port")
    with pytest.raises(UserError, match="head:port takes no connections"), joined():
        pass


def test_a_cluster_of_this_machine_is_asked_for_and_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match="RAY_ADDRESS=auto: no Ray cluster runs here"), joined():
        pass


def test_what_a_crashed_cluster_left_behind_is_refused_at_once(
    gone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*`ray stop` forgets it"), joined():
        pass


@pytest.mark.parametrize(
    ("dashboard", "said"), [("", ""), ("127.0.0.1:8265", "Ray dashboard: http://127.0.0.1:8265\n")]
)
def test_only_a_cluster_of_its_own_is_kept_from_looking_for_issues(
    dashboard: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    data = SimpleNamespace(enable_progress_bars=True, issue_detectors_config=SimpleNamespace(detectors=["hanging"]))
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    monkeypatch.setattr("ray.init", lambda **_: SimpleNamespace(dashboard_url=dashboard))
    monkeypatch.setattr("ray.data.DataContext.get_current", lambda: data)
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{cluster.getsockname()[1]}")
        with joined():
            assert data.issue_detectors_config.detectors == ["hanging"]
    assert not data.enable_progress_bars
    assert capsys.readouterr().err == said
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with joined():
        assert data.issue_detectors_config.detectors == []


def test_a_cluster_is_looked_for_where_ray_leaves_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ours", "rays"):
        (tmp_path / name / "ray").mkdir(parents=True)
        (tmp_path / name / "ray" / "ray_current_cluster").write_text(f"{name}:6379\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cluster_address() == "local"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "ours"))
    assert cluster_address() == "ours:6379"
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "rays"))
    assert cluster_address() == "rays:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_address() == "10.0.0.1:6379"


def test_the_address_of_a_ray_client_is_left_to_ray():
    """What it connects to is no port of a cluster's own."""
    refuse_a_dead_cluster("ray://no-such-host:10001")


@pytest.mark.engines
def test_a_stopped_job_ends_as_one_that_ctrl_c_ends():
    """`ray job stop` sends SIGTERM, for which Ray sets a handler when a cluster is joined."""
    code = """
import time
from selfreward_ray.cli.running import explained, joined_cluster
with explained(), joined_cluster():
    print("joined", flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"RAY_ADDRESS": "local"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "joined\n"
        driver.send_signal(signal.SIGTERM)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted; finished work is kept" in said
