"""Joining a cluster: what is silenced, what is refused on this machine, and how a command ends that is stopped."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfreward_ray.cluster import session
from selfreward_ray.cluster.session import joined
from selfreward_ray.cluster.this_machine import check_this_machine
from selfreward_ray.errors import UserError


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
    monkeypatch.setattr(session, "cluster_address", lambda: "10.0.0.1:6379")
    with joined():
        assert data.issue_detectors_config.detectors == ["hanging"]
    assert not data.enable_progress_bars
    assert capsys.readouterr().err == said
    monkeypatch.setattr(session, "cluster_address", lambda: "local")
    with joined():
        assert data.issue_detectors_config.detectors == []


def test_what_ray_writes_while_it_starts_is_not_shown_unless_it_fails(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(session, "cluster_address", lambda: "10.0.0.1:6379")
    outcome: list[Exception] = []

    def init(**_: object) -> SimpleNamespace:
        os.write(2, b"logging.cc:303: a line of C++\n")
        if outcome:
            raise outcome[0]
        return SimpleNamespace(dashboard_url="")

    monkeypatch.setattr("ray.init", init)
    with joined():
        os.write(2, b"said later\n")
    assert capfd.readouterr().err == "said later\n"
    outcome.append(OSError(errno.EROFS, "Read-only file system"))  # which says enough
    with pytest.raises(OSError, match="Read-only"), joined():
        pass
    assert capfd.readouterr().err == ""
    outcome[0] = RuntimeError("the GCS died")
    with pytest.raises(RuntimeError, match="the GCS died"), joined():
        pass
    assert capfd.readouterr().err == "logging.cc:303: a line of C++\n"


def test_a_long_temporary_folder_is_refused_with_the_variable_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("RAY_TMPDIR")
    folder = "/tmp/" + "é" * 40  # 80 bytes of UTF-8
    monkeypatch.setenv("TMPDIR", folder)
    with pytest.raises(
        UserError, match=f"TMPDIR={folder} is too long .* 1[45][0-9] of at most 107 bytes: set RAY_TMPDIR"
    ):
        check_this_machine()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_this_machine()


def test_a_temporary_folder_that_cannot_be_written_to_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_TMPDIR", "/none/at/all")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/" and access(path, mode))
    with pytest.raises(UserError, match="^/ cannot be written to, where Ray keeps .* set RAY_TMPDIR"):
        check_this_machine()


def test_a_machine_without_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/dev/shm" and access(path, mode))
    with pytest.raises(UserError, match="no /dev/shm to write to, .*in Docker --shm-size"):
        check_this_machine()


STOPPED = """
import os, signal, threading, time
import ray._private.worker as worker
from selfreward_ray.cli.running import explained, joined_cluster

def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)

def while_connecting():
    connect = worker.connect
    worker.connect = lambda *given, **more: (connect(*given, **more), stop())

def while_starting():
    init = worker.ray._private.node.Node.start_head_processes
    worker.ray._private.node.Node.start_head_processes = lambda node: (init(node), stop())

with explained():
    {before}
    try:
        with joined_cluster():
            {within}
            time.sleep(60)
    finally:
        stop()  # as `timeout` does, which sends it to its child and then to the group
        time.sleep(4)  # Ray's own handler would abort the process after three seconds
"""


@pytest.mark.engines
@pytest.mark.parametrize(
    ("before", "within"),
    [("while_starting()", ""), ("while_connecting()", ""), ("", "stop()")],
    ids=["while Ray starts", "below Python's handlers", "at work"],
)
def test_sigterm_ends_a_command_as_ctrl_c_does(before: str, within: str, tmp_path: Path):
    """`ray job stop` and schedulers send it. Nothing that the command started is left."""
    marked = os.environ | {"RAY_ADDRESS": "local", "STOPPED_BY_TEST": str(tmp_path)}
    code = "from selfreward_ray.stopping import end_as_by_ctrl_c\nend_as_by_ctrl_c()\n"
    code += STOPPED.format(before=before or "pass", within=within or "pass")
    done = subprocess.run([sys.executable, "-c", code], env=marked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("Ray dashboard")]
    said = [line for line in said if not line.endswith(" elapsed")]  # of a busy machine
    assert [line.partition(",")[0] for line in said] == ["interrupted; finished work is kept"]
    end = time.monotonic() + 20
    while (left := _processes_with(f"STOPPED_BY_TEST={tmp_path}")) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == []


def _processes_with(variable: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_text(errors="replace").split("\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended, or is another user's
            continue
    return found
