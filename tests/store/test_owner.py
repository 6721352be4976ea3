"""One process at a time works on a run's folder."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.store import lease, owner
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import CLAIMS

HOLDS = """
import sys
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
with owned(Folder(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


@pytest.fixture
def holder(run: Folder):
    """Another process that works on `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, run.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_a_second_process_is_refused_with_the_first_ones_name(run: Folder, holder: "subprocess.Popen[str]"):
    for look in (lambda: owner.check_free(run), lambda: owner.owned(run).__enter__()):
        with pytest.raises(UserError) as refused:
            look()
        assert str(refused.value).startswith(f"{run.uri} is at work by process {holder.pid} on ")
        assert "; wait until that has ended, or stop it" in str(refused.value)


def test_a_process_that_was_killed_holds_nothing(run: Folder, holder: "subprocess.Popen[str]"):
    holder.kill()
    holder.wait()
    owner.check_free(run)
    with owner.owned(run):
        assert json.loads(Path(run.uri, owner.OWNER).read_text())["process"].startswith(f"process {os.getpid()} on ")
        with pytest.raises(UserError, match="is at work"):
            owner.check_free(run)
    owner.check_free(run)


def test_a_look_makes_no_folder(run: Folder):
    owner.check_free(run)
    assert not Path(run.uri).exists()


@pytest.mark.parametrize("written", ["", "{", "[]", "{}"])
def test_an_owner_that_has_not_written_its_name_yet_is_one_too(run: Folder, written: str):
    with owner.owned(run):
        Path(run.uri, owner.OWNER).write_text(written)
        with pytest.raises(UserError, match="is at work by another process; "):
            owner.check_free(run)


def test_a_run_in_an_object_store_is_leased(run: Folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(owner, "_file", lambda _: None)
    with owner.owned(run):
        (claim,) = (run / CLAIMS).files()
        assert json.loads(Path(claim).read_text())["process"].startswith(f"process {os.getpid()} on ")
        owner.check_free(run)
    assert (run / CLAIMS).files() == []


@pytest.mark.parametrize("fault", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_run_on_a_disk_without_locks_is_leased(run: Folder, monkeypatch: pytest.MonkeyPatch, fault: int):
    def flock(file: Any, _how: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):  # a folder has a lock of the machine's own
            raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", flock)
    with owner.owned(run):
        assert len((run / CLAIMS).files()) == 1
        owner.check_free(run)
    assert (run / CLAIMS).files() == []


def test_a_job_is_named(run: Folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_1"}}))
    with (
        owner.owned(run),
        pytest.raises(UserError, match=r"at work by process \d+ on .*, job raysubmit_1, since \d{4}-"),
    ):
        owner.check_free(run)


def test_who_works_on_a_run_is_told_without_keeping_anybody_from_it(run: Folder, holder: "subprocess.Popen[str]"):
    assert str(owner.owner_of(run)).startswith(f"process {holder.pid} on ")
    holder.kill()
    holder.wait()
    assert owner.owner_of(run) is None
    with owner.owned(run) as is_owner:
        assert is_owner()
        assert str(owner.owner_of(run)).startswith(f"process {os.getpid()} on ")
    assert owner.owner_of(Folder(f"{run.uri}/nowhere")) is None


def test_a_look_at_the_moment_when_a_process_begins_does_not_refuse_it(run: Folder, monkeypatch: pytest.MonkeyPatch):
    run.write_bytes(owner.OWNER, b"of a process that was killed")
    with Path(run.uri, owner.OWNER).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(owner.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        with owner.owned(run) as is_owner:
            assert is_owner()


def test_the_holder_of_a_lease_shows_itself_by_a_sign(run: Folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(owner, "_file", lambda _: None)
    monkeypatch.setattr(lease, "BEAT_S", 0.3)
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)
    assert owner.owner_of(run) is None
    with owner.owned(run) as is_owner:
        assert is_owner()
        # One that has just come, and will be refused.
        (run / CLAIMS).write_json("f.json", {"process": "late", "number": 9, "beat": 0, "over": []})
        assert str(owner.owner_of(run)).startswith(f"process {os.getpid()} on ")
        (run / CLAIMS).remove("f.json")
    dead = {"process": "dead", "number": 1, "beat": 7, "over": []}
    (run / CLAIMS).write_json("0.json", dead)
    assert owner.owner_of(run) is None


def test_an_owner_leaves_nothing_behind(run: Folder, tmp_path: Path):
    with owner.owned(run / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with owner.owned(run / "a"):
        run.write_bytes("x", b"1")
    assert [path.name for path in Path(run.uri).iterdir()] == ["x"]


def test_an_owner_whose_folder_is_another_ones_now_leaves_that_one_alone(run: Folder):
    with owner.owned(run):
        run.delete()
        with owner.owned(run):
            pass
        other = owner.owned(run)
        other.__enter__()
    with pytest.raises(UserError, match="is at work"):
        owner.check_free(run)
    other.__exit__(None, None, None)
    owner.check_free(run)


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(run: Folder, monkeypatch: pytest.MonkeyPatch):
    """The one that had it has ended after this process had opened its file."""
    run.write_bytes(owner.OWNER, b"{}")
    locked = owner._lock

    def lock_too_late(file: IO[str], place: Folder) -> None:
        monkeypatch.setattr(owner, "_lock", locked)
        run.delete()
        locked(file, place)

    monkeypatch.setattr(owner, "_lock", lock_too_late)
    with owner.owned(run), pytest.raises(UserError, match="is at work"):
        owner.check_free(run)
