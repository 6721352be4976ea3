"""One process at a time makes a step, also where no run makes it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from making_steps import Making, one_goes_on

from selfreward_ray.errors import UserError
from selfreward_ray.records import Prompt
from selfreward_ray.store import owner
from selfreward_ray.store.attempt import ATTEMPT
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import CLAIMS
from selfreward_ray.store.owner import OWNER, owned, owned_step
from selfreward_ray.store.step import Step, is_step


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    """The folder of a run, at which nobody is at work."""
    run = Folder(str(tmp_path / "runs" / "M1"))
    run.write_json(ATTEMPT, {})
    return run


@pytest.fixture
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Making]]:
    makings = [Making(str(tmp_path / out)) for out in request.param]
    yield makings
    for making in makings:
        making.end()


@pytest.mark.parametrize("several", [["out"] * 3], indirect=True)
def test_of_several_at_the_same_moment_one_makes_the_step(several: list[Making], tmp_path: Path):
    one_goes_on(several, str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "rows", "started.json"]


@pytest.mark.parametrize("several", [["runs/M1/M2/pairs", "runs/M1/M3/judged-by-M1"]], indirect=True)
def test_two_steps_in_a_run_are_not_made_at_once(several: list[Making], run: Folder):
    one_goes_on(several, run.uri)


@pytest.mark.parametrize("several", [["out"]], indirect=True)
def test_a_step_whose_process_was_killed_goes_on(several: list[Making], tmp_path: Path):
    (killed,) = several
    killed.go()
    assert killed.said() == "held"
    killed.end()
    assert (tmp_path / "out" / OWNER).exists()
    step = Step("propose", str(tmp_path / "out"), {}, {})
    with owned_step(step.folder):
        assert not step.is_done()
        step.write([Prompt("p0", "Why?")], Prompt)
        step.finish(offered=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "rows", "started.json"]


@pytest.mark.parametrize("inside", ["M2/judged", "M12/judged-by-M1", "M1/baseline/training", "M2/training"])
def test_a_step_in_a_run_at_which_somebody_works_is_refused(run: Folder, inside: str):
    with owned(run), pytest.raises(UserError) as refused, owned_step(run / inside):
        pass
    assert str(refused.value).startswith(f"{run.uri} is at work by process {os.getpid()} on ")
    with owned_step(run / inside), pytest.raises(UserError, match="is at work"):
        owner.check_free(run)


@pytest.mark.parametrize("outside", ["comparisons/M3-M2", "mine", "../M2/judged", "../mine"])
def test_a_step_elsewhere_is_made_beside_a_run(run: Folder, outside: str):
    """Only a step in the folder of one of its models is part of a run."""
    with owned(run), owned_step(run / outside):
        pass


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "{}/", "{}/../M2/pairs"])
def test_a_run_is_found_in_any_spelling(run: Folder, spelling: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.uri)
    for place in (spelling.format(f"{run.uri}/M2/pairs"), "M2/pairs"):
        with owned(run), pytest.raises(UserError, match="is at work"), owned_step(Folder(place)):
            pass


def test_a_finished_step_is_not_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In an object store that would take seconds, and for another owner to end."""
    step = Step("propose", str(tmp_path / "out"), {}, {})
    with owned_step(step.folder):
        assert not step.is_done()
        step.finish(offered=0)
    monkeypatch.setattr(owner, "owned", None)
    with owned_step(step.folder):
        assert step.is_done()


def marked(folder: Folder) -> None:
    """As an owner has it: on a disk, and in an object store."""
    folder.write_json(OWNER, {"process": "process 7"})
    (folder / CLAIMS).write_json("f.json", {"process": "process 7"})


def test_what_an_owner_writes_is_nothing_that_no_step_wrote(tmp_path: Path):
    step = Step("propose", str(tmp_path), {}, {})
    marked(step.folder)
    assert not is_step(step.folder)
    assert not step.is_done()
    assert is_step(step.folder)


def test_what_an_owner_writes_is_nothing_that_another_step_left(tmp_path: Path):
    first = Step("propose", str(tmp_path), {}, {})
    assert not first.is_done()
    first.write([Prompt("p0", "Why?")], Prompt)
    marked(first.folder)
    assert not Step("propose", str(tmp_path), {"changed": True}, {}).is_done()
    assert sorted(path.name for path in tmp_path.iterdir()) == [OWNER, CLAIMS, "started.json"]
    assert json.loads((tmp_path / OWNER).read_text()) == {"process": "process 7"}
    assert (tmp_path / CLAIMS / "f.json").exists()


def test_what_an_owner_writes_is_in_no_manifest(tmp_path: Path):
    made = {}
    for name in ("plain", "owned"):
        step = Step("propose", str(tmp_path / name), {}, {})
        if name == "owned":
            marked(step.folder)
        assert not step.is_done()
        step.write([Prompt("p0", "Why?")], Prompt)
        made[name] = step.finish(offered=1)
    assert made["plain"].identity == made["owned"].identity
    assert made["plain"].rows == made["owned"].rows


def test_a_folder_that_no_step_wrote_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    step = Step("propose", str(tmp_path), {}, {})
    with owned_step(step.folder), pytest.raises(UserError, match="not empty and no step"):
        step.is_done()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_is_removed_meanwhile_is_no_fault(tmp_path: Path):
    with owned_step(Folder(str(tmp_path / "out"))):
        shutil.rmtree(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
