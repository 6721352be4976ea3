"""What of a run can be deleted: nothing that a manifest or a later step needs."""

import os
import shutil
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from reported_run import write_run
from rich.console import Console
from typer.testing import CliRunner

from selfreward_ray import loop
from selfreward_ray.cli import app
from selfreward_ray.errors import UserError
from selfreward_ray.models import cache
from selfreward_ray.records import PairTokens
from selfreward_ray.steps import gc
from selfreward_ray.steps.report import report
from selfreward_ray.steps.rows import print_rows
from selfreward_ray.steps.status import print_status
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import write_part

HOUR_AGO = time.time() - 4000


def train(layout: RunLayout, t: int, finished: bool = True) -> None:
    """A training with everything that it may leave."""
    made = layout.model_layout(t)
    manifest = made.training.read_json("manifest.json")
    write_part(made.training, "rows", [PairTokens(f"p{i}", (1,), (2,), (3,)) for i in range(9)], PairTokens, "pair-0")
    (made.checkpoints / "train" / "checkpoint_1").write_bytes("rank.safetensors", bytes(50_000))
    (made.snapshot(4) / "model").write_bytes("model.safetensors", bytes(3_000))
    (made.reference / "key").write_bytes("part-0.parquet", bytes(700))
    made.model.write_bytes("model.safetensors", b"weights")
    made.training.write_json("manifest.json", manifest | {"rows": {"rows": 9}})
    if not finished:
        made.training.write_bytes("manifest", made.training.read_bytes("manifest.json"))
        made.training.remove("manifest.json")


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    """M1 and M2 are trained, and M3 is being trained."""
    layout = write_run(tmp_path / "run")
    train(layout, 1)
    train(layout, 2)
    train(layout, 3, finished=False)
    return layout


def collected(layout: RunLayout, answer: bool = True) -> list[str]:
    console = Console(file=StringIO(), width=80)
    gc.collect(layout.uri, lambda question: answer, console)
    return [line.replace(layout.uri, "RUN") for line in console.file.getvalue().splitlines()]


def files(layout: RunLayout) -> dict[str, bytes]:
    root = Path(layout.uri)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_finished_trainings_left_is_listed_with_its_size_and_deleted(run: RunLayout):
    before = files(run)
    lines = collected(run)
    tokens = len(before["M1/training/rows/pair-0.parquet"])
    for t, place in ((1, 0), (2, 4)):
        assert lines[place : place + 4] == [
            f"  50.0 kB  RUN/M{t}/training/ray_train: checkpoints of a finished training (1 file)",
            f"   3.0 kB  RUN/M{t}/training/snapshots: snapshots of a finished training (1 file)",
            f"{tokens / 1000:6.1f} kB  RUN/M{t}/training/rows: its examples as token ids (1 file)",
            f"700 bytes  RUN/M{t}/reference: reference log-probs, computed again if the training is (1 file)",
        ]
    freed = 2 * (53_700 + tokens)
    assert lines[8:] == [f"{freed / 1000:.1f} kB freed"]
    gone = before.keys() - files(run).keys()
    assert {name.split("/")[0] for name in gone} == {"M1", "M2"}
    assert sum(len(before[name]) for name in gone) == freed
    assert not (Path(run.uri) / "M1" / "reference").exists()
    kept = {name: content for name, content in before.items() if name not in gone}
    assert {name: content for name, content in files(run).items() if name in kept} == kept
    assert collected(run) == ["nothing can be deleted"]


def test_copies_of_the_runs_models_on_this_machine_are_deleted_unless_they_are_in_use(
    run: RunLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And none of another run's, whose name may begin as this one's does."""
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_used_here", {})
    collected(run)

    def copied(uri: str) -> Path:
        folder = cache.claim(uri, [])
        (folder / "model.safetensors").write_bytes(bytes(2000))
        return folder

    old, new = copied(f"{run.uri}/M1/model"), copied(f"{run.uri}/M2/model")
    other = copied(f"{run.uri}-2/M1/model")
    for folder in (old, other):
        cache._used_here.pop(folder).close()
    said = f"   2.0 kB  {old}: a copy of RUN/M1/model, fetched again where it is needed (1 file)"
    assert collected(run) == [said, "2.0 kB freed"]
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
    cache._used_here.pop(new).close()
    assert collected(run)[-1] == "2.0 kB freed"


def test_nothing_is_deleted_unless_it_is_confirmed(run: RunLayout):
    before = files(run)
    assert collected(run, answer=False)[-1] == "nothing was deleted"
    assert files(run) == before


def test_the_run_goes_on_and_its_report_is_as_before(run: RunLayout, monkeypatch: pytest.MonkeyPatch):
    """No step is done again: what is deleted is part of no identity."""
    run.training(3).write_bytes("manifest.json", run.training(3).read_bytes("manifest"))

    def seen() -> tuple[str, str]:
        shown = Console(file=StringIO(), width=200)
        print_status(run.uri, shown)
        report(run.uri, Console(file=StringIO()))
        return shown.file.getvalue(), Path(run.uri, "report.html").read_text()

    before = seen()
    assert "complete" in before[0]
    assert len(collected(run)) == 13
    assert seen() == before
    monkeypatch.setattr(loop, "check_capacity", lambda _: None)
    steps: list[Any] = []
    monkeypatch.setattr(loop, "run_steps", lambda planned, *_: steps.extend(planned))
    loop.run(run.recipe(), run.uri)
    assert all(Folder(step.folder.uri).is_file("manifest.json") for step in steps)


def test_a_table_that_was_lost_otherwise_is_still_missed(run: RunLayout):
    collected(run)
    manifest = run.training(1).read_json("manifest.json")
    run.training(1).write_json("manifest.json", manifest | {"dropped": {"too long": 2}})
    with pytest.raises(UserError, match="M1/training/dropped holds 0 of the 2 rows that the step counted"):
        report(run.uri, Console(file=StringIO()))
    run.training(1).write_json("manifest.json", manifest)
    shutil.rmtree(Path(run.uri) / "M2" / "pairs" / "rows")
    with pytest.raises(UserError, match="M2/pairs/rows holds 0 of the .* rows that the step counted"):
        report(run.uri, Console(file=StringIO()))
    with pytest.raises(UserError, match=f"the step {run.training(2).uri} is finished and has no rows"):
        print_rows(run.training(2).uri, console=Console(file=StringIO()))


def test_a_training_that_is_not_finished_keeps_all_that_it_goes_on_from(run: RunLayout):
    before = {name for name in files(run) if name.startswith("M3/")}
    collected(run)
    assert {name for name in files(run) if name.startswith("M3/")} == before


def test_an_interrupted_deletion_leaves_a_run_that_is_whole(run: RunLayout, monkeypatch: pytest.MonkeyPatch):
    delete = Folder.delete
    left = 2

    def interrupted(self: Folder) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        delete(self)

    monkeypatch.setattr(Folder, "delete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collected(run)
    monkeypatch.undo()
    report(run.uri, Console(file=StringIO()))
    assert "RUN/M1/training/rows: its examples as token ids (1 file)" in collected(run)[0]


def test_a_run_at_work_is_refused(run: RunLayout):
    before = files(run)
    with owned(run.root), pytest.raises(UserError, match="is at work by process"):
        collected(run)
    assert {name for name in files(run) if name != "owner.json"} == before.keys()


def test_torn_files_of_processes_that_were_killed_are_deleted_and_new_ones_are_not(run: RunLayout):
    for name, when in ((".manifest.json.partial", HOUR_AGO), (".report.html.partial", time.time())):
        path = Path(run.uri, "M3", "training", name)
        path.write_bytes(b"torn")
        os.utime(path, (when, when))
    Path(run.uri, ".recipe.yaml.partial").write_bytes(b"")
    os.utime(Path(run.uri, ".recipe.yaml.partial"), (HOUR_AGO, HOUR_AGO))
    said = "which a process that was killed had begun to write (1 file)"
    lines = collected(run)
    assert f"  0 bytes  RUN: .recipe.yaml.partial, {said}" in lines
    assert f"  4 bytes  RUN/M3/training: .manifest.json.partial, {said}" in lines
    assert [name for name in files(run) if name.endswith(".partial")] == ["M3/training/.report.html.partial"]


def test_answers_of_an_endpoint_are_kept_until_their_step_is_finished(run: RunLayout):
    for folder in (run.scored(1), run.scored(2)):
        (folder / "answers").write_bytes("0123.json", b"{}")
    run.scored(2).remove("manifest.json")
    assert "  2 bytes  RUN/M1/scored/answers: an endpoint's answers to a finished step (1 file)" in collected(run)
    assert not run.scored(1).folders().count("answers")
    assert (run.scored(2) / "answers").files()


def test_blocks_are_kept_until_their_step_is_finished(run: RunLayout):
    places = [run.judged(2), run.prompts(2) / "proposals", run.scored(2)]
    for folder in places:
        (folder / "blocks" / "rows").write_bytes("a.parquet", b"a block")
    run.scored(2).remove("manifest.json")
    said = "blocks of a finished step, whose rows are in its tables (1 file)"
    lines = collected(run)
    for name in ("M2/judged", "M2/prompts/proposals"):
        assert f"  7 bytes  RUN/{name}/blocks: {said}" in lines
    assert ["blocks" in folder.folders() for folder in places] == [False, False, True]


@pytest.mark.parametrize(
    ("options", "answer", "deleted"),
    [([], "y\n", True), ([], "n\n", False), ([], "", False), (["--yes"], "", True)],
)
def test_the_command_asks_first(run: RunLayout, options: list[str], answer: str, deleted: bool):
    done = CliRunner().invoke(app, ["gc", run.uri, *options], input=answer)
    assert done.exit_code == 0
    assert ("delete them, and free " in done.stdout) == (not options)
    assert done.stdout.splitlines()[-1].endswith(" freed" if deleted else "nothing was deleted")
    assert bool(run.model_layout(1).checkpoints.folders()) != deleted


def test_what_is_no_run_is_left_alone(tmp_path: Path):
    with pytest.raises(UserError, match="is no run's folder"):
        collected(RunLayout(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
