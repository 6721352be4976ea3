"""How the last attempt at a run ended."""

from contextlib import suppress
from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.store.attempt import ATTEMPT, read_attempt, recorded
from selfreward_ray.store.folder import Folder


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def test_an_attempt_is_at_work_until_it_ends(run: Folder):
    assert read_attempt(run) is None
    with recorded(run, lambda: True):
        attempt = read_attempt(run)
        assert attempt is not None
        assert (attempt.how, attempt.at, attempt.error) == ("at work", "", "")
    attempt = read_attempt(run)
    assert attempt is not None
    assert attempt.how == "ended"
    assert attempt.at > "2026"


def test_an_error_of_another_process_is_told_by_its_cause(run: Folder):
    wrapped = RuntimeError("Traceback of a worker")
    wrapped.cause = UserError("no room")
    with pytest.raises(RuntimeError), recorded(run, lambda: True):
        raise wrapped
    attempt = read_attempt(run)
    assert attempt is not None
    assert (attempt.how, attempt.error) == ("failed", "no room")


def test_a_process_that_has_lost_the_run_leaves_the_record_to_the_one_that_has_it(run: Folder):
    with suppress(KeyboardInterrupt), recorded(run, lambda: False):
        run.write_json(ATTEMPT, {"process": "its heir"})
        raise KeyboardInterrupt
    attempt = read_attempt(run)
    assert attempt is not None
    assert (attempt.process, attempt.how) == ("its heir", "at work")


def test_an_error_is_not_hidden_by_a_storage_that_takes_no_record_of_it(run: Folder, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        with recorded(run, lambda: True):
            monkeypatch.setattr(Folder, "write_json", full)
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        fail()
