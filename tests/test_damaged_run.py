"""Files of a run that were damaged, lost or copied: each command repairs that, or says in one line what to do about it.

A small run with scripted models is made once; each test damages a copy of it.
"""

import errno
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from rich.console import Console
from small_loop import SmallLoop

from selfreward_ray import loop
from selfreward_ray.cli.running import explained
from selfreward_ray.errors import UserError
from selfreward_ray.inference import block
from selfreward_ray.plan import PlannedStep, plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.export import export
from selfreward_ray.steps.gc import collect
from selfreward_ray.steps.report import report
from selfreward_ray.steps.rows import print_rows
from selfreward_ray.steps.show import show
from selfreward_ray.steps.status import print_status
from selfreward_ray.store import folder as folders
from selfreward_ray.store import lease
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import next_iteration
from selfreward_ray.tracking.json_lines import MetricsReader, newest_step

PROMPT = "M2/p000003"
COMMANDS = ("run", "iterate", "status", "report", "show", "rows", "export", "gc")
TABLES = (
    "M1/evaluation/rows", "M1/scored/offered", "M1/scored/rows", "M1/seed/dropped", "M1/seed/eft",
    "M1/seed/held_out", "M1/seed/rows", "M2/against-M1/dropped", "M2/against-M1/rows", "M2/evaluation/rows",
    "M2/judged/rows", "M2/pairs/rows", "M2/prompts/rows", "M2/scored/offered", "M2/scored/rows",
)  # fmt: skip
TORN = {"truncated": lambda content: content[:-20], "empty": lambda content: b""}
"""What a machine that lost its power, or a copy that was broken off, leaves of a file."""
NO_OBJECT = (b"", b"{", b"[]", b"null", b"3", b'"text"', b"\xff\xfe{", b"NaN", b"[" * 2000)
"""What stands in a JSON file in the place of an object."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLoop]:
    """A finished run of one iteration; its models stay scripted while the module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        made = SmallLoop(tmp_path_factory.mktemp("whole"), patch)
        for name in ("check_cluster", "advise"):
            patch.setattr(loop, name, lambda *_: None)
        loop.run(short(made), made.layout.uri)
        yield made


def short(whole: SmallLoop) -> Recipe:
    return whole.recipe().model_copy(update={"iterations": 1})


class Copy:
    """A copy of the whole run, and the commands that work on it."""

    def __init__(self, whole: SmallLoop, folder: Path) -> None:
        shutil.copytree(whole.layout.uri, folder)
        self.folder, self.layout, self.whole = folder, RunLayout(str(folder)), whole
        self.steps = plan(self.layout.recipe(), self.layout)

    def step(self, label: str) -> PlannedStep:
        return next(step for step in self.steps if step.label == label)

    def unfinished_from(self, label: str) -> None:
        """As if the run had been killed in this step, with all of its rows written."""
        place = self.steps.index(self.step(label))
        (Path(self.steps[place].folder.uri) / "manifest.json").unlink()
        for step in self.steps[place + 1 :]:
            step.folder.delete()

    def run(self) -> None:
        loop.run(short(self.whole), str(self.folder))

    def iterate(self) -> None:
        recipe, iteration = next_iteration(self.layout, [])
        loop.run(recipe, str(self.folder), iteration)

    def said(self, command: str) -> str:
        """What the command printed; for an error that it ended with, ``error: `` and its text, which is one line."""
        console = Console(file=io.StringIO(), width=10_000)
        commands: dict[str, Callable[[], Any]] = {
            "run": self.run,
            "iterate": self.iterate,
            "status": lambda: print_status(str(self.folder), console),
            "report": lambda: report(str(self.folder), console),
            "show": lambda: show(str(self.folder), PROMPT, console),
            "rows": lambda: print_rows(str(self.folder / "M2" / "judged"), console=console),
            "export": lambda: export(str(self.folder / "M2" / "pairs"), str(self.folder.parent / "pairs.jsonl")),
            "gc": lambda: collect(str(self.folder), lambda question: True, console),
        }
        try:
            commands[command]()
        except UserError as error:
            (line,) = str(error).split("\n")
            return f"error: {line}"
        return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.fixture
def copy(whole: SmallLoop, tmp_path: Path) -> Copy:
    return Copy(whole, tmp_path / "copy")


def tables(folder: Path) -> list[str]:
    """Every table of the run, as ``M2/pairs/rows``."""
    return sorted({str(path.parent.relative_to(folder)) for path in folder.rglob("*.parquet")})


def rows_of(folder: Path) -> dict[str, list[str]]:
    """The rows of every table, in the order of their texts."""
    found = {
        name: [str(row) for path in (folder / name).iterdir() for row in pq.read_table(path).to_pylist()]
        for name in tables(folder)
    }
    return {name: sorted(rows) for name, rows in found.items() if rows}


def differing(copy: "Copy", folder: Path) -> list[str]:
    """Tables whose rows are others than those of the whole run."""
    found, expected = rows_of(folder), rows_of(Path(copy.whole.layout.uri))
    return [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tear(table: Path, how: str) -> Path:
    path = min(table.glob("*.parquet"))
    path.write_bytes(TORN[how](path.read_bytes()))
    return path


def test_the_tables_are_all_of_the_run(copy: Copy):
    assert tables(copy.folder) == list(TABLES)


# Tables


@pytest.mark.parametrize(("table", "how"), zip(TABLES, cycle(TORN), strict=False))
def test_a_torn_file_of_a_finished_step_is_named_by_all_that_need_it(copy: Copy, table: str, how: str):
    """The run reads all at its end, if no step needs the table before."""
    path = tear(copy.folder / table, how)
    for command in ("status", "report", "run", "iterate"):
        said = copy.said(command)
        assert f"{path} is damaged (" in said, command
        assert f"or remove {path.parent.parent} and make that step again" in said
    for command in ("show", "rows", "export", "gc"):
        said = copy.said(command)
        assert not said.startswith("error: ") or f"{path} is damaged (" in said


@pytest.mark.parametrize(
    ("at", "table"),
    [
        ("M2 · prompts", "M1/seed/rows"),
        ("M1 · evaluate", "M1/seed/held_out"),
        ("M2 · respond and judge", "M2/prompts/rows"),
        ("M2 · pairs", "M2/judged/rows"),
        ("M1 · score answers", "M1/evaluation/rows"),
        ("M2 · against M1", "M2/scored/rows"),
    ],
)
def test_a_run_does_not_go_on_from_a_step_that_has_lost_rows(copy: Copy, at: str, table: str):
    """Before, it did so with the rows that were left."""
    copy.unfinished_from(at)
    asked, before = len(copy.whole.asked), files_of(copy.folder)
    shutil.rmtree(copy.folder / table)
    said = copy.said("run")
    assert f"error: {copy.folder / table} holds 0 of the " in said
    assert f"put back its files, or remove {(copy.folder / table).parent} and make that step again" in said
    assert len(copy.whole.asked) == asked
    (copy.folder / table).mkdir()
    for name in before:
        if name.startswith(f"{table}/"):
            (copy.folder / name).write_bytes(before[name])
    copy.run()
    assert differing(copy, copy.folder) == []


@pytest.mark.parametrize(("table", "how"), zip(TABLES, cycle(reversed(TORN)), strict=False))
def test_a_torn_file_of_an_unfinished_step_is_repaired_or_named(copy: Copy, table: str, how: str):
    """If it is named, the remedy that is named with it is one."""
    step = next(step for step in copy.steps if Path(step.folder.uri) == (copy.folder / table).parent)
    copy.unfinished_from(step.label)
    path = tear(copy.folder / table, how)
    for command in ("status", "report", "show"):
        copy.said(command)
    said = copy.said("run")
    if said.startswith("error: "):
        assert said.startswith(f"error: {path} is damaged (")
        assert said.endswith(f"or remove {step.folder.uri} and make that step again")
        step.folder.delete()
        copy.run()
    assert differing(copy, copy.folder) == []


# JSON


@pytest.mark.parametrize("content", [*NO_OBJECT, b"{}", b'{"step": "respond", "fingerprint": null}'])
def test_a_damaged_manifest_is_named_by_every_command(copy: Copy, content: bytes):
    """It is no unfinished step, whose rows might be made again: nothing is changed."""
    (copy.folder / "M2/judged/manifest.json").write_bytes(content)
    before = rows_of(copy.folder)
    for command in COMMANDS:
        said = copy.said(command)
        if command != "export":
            assert said.startswith(f"error: {copy.folder}/M2/judged/manifest.json is damaged ("), command
            assert "; remove " in said
    assert [name for name, rows in before.items() if rows_of(copy.folder)[name] != rows] == []


def test_a_manifest_of_a_later_version_with_more_in_it_is_read(copy: Copy):
    path = copy.folder / "M2/judged/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99, "sealed": {"by": ["x"]}}))
    assert [command for command in COMMANDS if copy.said(command).startswith("error: ")] == []
    assert json.loads(path.read_text())["schema"] == 99, "the step was not made again"


@pytest.mark.parametrize("content", [each for each in NO_OBJECT if each != b'"text"'] + [b"{}"])
def test_a_damaged_fingerprint_costs_no_rows(copy: Copy, content: bytes):
    """Of an unfinished step. Taken for another step's it would empty the folder."""
    copy.unfinished_from("M2 · respond and judge")
    path = copy.folder / "M2/judged/started.json"
    path.write_bytes(content)
    before = rows_of(copy.folder)
    said = copy.said("run")
    assert said.startswith(f"error: {path} is damaged (")
    assert "; remove " in said
    assert rows_of(copy.folder) == before


@pytest.mark.parametrize("name", ["attempt.json", "owner.json"])
def test_damaged_records_of_who_was_at_work_hinder_nobody(copy: Copy, name: str):
    for content in (*NO_OBJECT, b"{}", b'{"process": 1e999, "how": 3}'):
        (copy.folder / name).write_bytes(content)
        assert [command for command in ("status", "run") if copy.said(command).startswith("error: ")] == []


@pytest.mark.parametrize("content", [*NO_OBJECT, b'{"process": 1, "number": 1e999, "beat": 1, "over": []}'])
def test_a_damaged_claim_of_a_run_in_a_bucket_is_that_of_a_dead_process(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    monkeypatch.setattr(lease, "_LOOK_S", 0.01)
    run = Folder(str(tmp_path))
    (run / lease.CLAIMS).write_bytes("0.json", content)
    assert lease.holder(run) is None


def test_damaged_lines_of_metrics_are_left_out(copy: Copy):
    lines = [b'{"series": "a", "step": 1, "values": {}}', *NO_OBJECT, b'{"series": "a", "step": 2, "values": {}}']
    (copy.folder / "metrics").mkdir(exist_ok=True)
    (copy.folder / "metrics" / "99990101T000000.000000-0000.jsonl").write_bytes(b"\n".join([*lines, *NO_OBJECT]))
    assert [line["step"] for line in MetricsReader(str(copy.folder)).new() if line["series"] == "a"] == [1, 2]
    assert newest_step(str(copy.folder), "a") == 2


@pytest.mark.parametrize("content", [*NO_OBJECT, b"{}", b"- a\n- b"])
def test_a_damaged_recipe_is_named_by_every_command_on_the_run(copy: Copy, content: bytes):
    (copy.folder / "recipe.yaml").write_bytes(content)
    for command in ("run", "iterate", "status", "report", "show", "gc"):
        said = copy.said(command)
        assert said.startswith(f"error: {copy.folder}/recipe.yaml is damaged ("), (command, said)


# A disk


class Disk(fs.LocalFileSystem):  # type: ignore[misc]
    """The disk, which takes so many files, and then has the fault of this number."""

    takes = 10**9
    fault = 0

    def _write(self) -> None:
        if Disk.takes <= 0:
            raise OSError(
                Disk.fault, {errno.ENOSPC: "No space left on device", errno.EROFS: "Read-only file system"}[Disk.fault]
            )
        Disk.takes -= 1

    def open_output_stream(self, *arguments: Any, **more: Any) -> Any:
        self._write()
        return super().open_output_stream(*arguments, **more)

    def delete_file(self, path: str) -> None:
        if Disk.fault == errno.EROFS:
            self._write()
        super().delete_file(path)

    def delete_dir(self, path: str) -> None:
        if Disk.fault == errno.EROFS:
            self._write()
        super().delete_dir(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let the disk take so many files and no more, for this reason."""

    def set_up(takes: int, fault: int) -> None:
        monkeypatch.setattr(Disk, "takes", takes)
        monkeypatch.setattr(Disk, "fault", fault)

    set_up(10**9, 0)
    monkeypatch.setattr(block, "RETRY_DELAYS_S", ())
    opened = folders.opened
    monkeypatch.setattr(folders, "opened", lambda uri: (Disk(), opened(uri)[1]))
    return set_up


def test_a_disk_that_is_full_at_any_moment_costs_no_row(
    copy: Copy, disk: Callable[[int, int], None], capsys: pytest.CaptureFixture[str]
):
    """It is full again after some files more, until the run is at its end."""
    copy.unfinished_from("M1 · seed data")
    for times in count():
        disk(5 + times, errno.ENOSPC)
        capsys.readouterr()
        try:
            with explained():
                copy.run()
            break
        except SystemExit:
            last = capsys.readouterr().err.splitlines()[-1]
            assert "No space left on device; finished work is kept: free some space and run the same command" in last
    assert times > 5
    assert differing(copy, copy.folder) == []


def test_a_run_that_cannot_be_written_to_can_be_looked_at(
    copy: Copy, disk: Callable[[int, int], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    expected = {command: copy.said(command) for command in ("status", "show", "rows")}
    before, opens = files_of(copy.folder), Path.open

    def open_to_read(path: Path, mode: str = "r", **more: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opens(path, mode, **more)

    monkeypatch.setattr(Path, "open", open_to_read)
    disk(0, errno.EROFS)
    assert {command: copy.said(command) for command in expected} == expected
    for command in ("run", "report", "gc"):
        with pytest.raises(SystemExit), explained():
            copy.said(command)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line.startswith("error: Read-only file system")
        assert line.endswith("; name a folder on a disk that can be written to")
    assert files_of(copy.folder) == before


# A clock and copies


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The clock goes an hour on and back again, at every look at it, which are counted."""
    clock, counted = time.time, count()
    monkeypatch.setattr(time, "time", lambda: clock() + (3600 if next(counted) % 2 else -3600))
    return counted


def test_a_clock_that_jumps_gives_nobody_the_run_of_a_process_that_is_alive(
    tmp_path: Path, looks: Iterator[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "_LOOK_S", 0.02)
    first, second = (lease._Owner(Folder(str(tmp_path))) for _ in range(2))
    first.wait_for_turn()
    try:
        with pytest.raises(UserError, match="is at work by"):
            second.wait_for_turn()
    finally:
        second.leave()
        first.leave()


def test_a_clock_that_jumps_changes_nothing(copy: Copy, looks: Iterator[int]):
    copy.unfinished_from("M1 · seed data")
    copy.run()
    assert differing(copy, copy.folder) == []
    assert [command for command in COMMANDS[2:] if copy.said(command).startswith("error: ")] == []
    assert next(looks) > 10


def test_a_copied_run_is_the_same_run(copy: Copy):
    """Nothing of it is made again, and an iteration more asks its own models alone."""
    asked = len(copy.whole.asked)
    copy.run()
    assert len(copy.whole.asked) == asked
    assert differing(copy, copy.folder) == []
    assert [command for command in COMMANDS if copy.said(command).startswith("error: ")] == []
    assert {table.split("/")[0] for table in differing(copy, copy.folder)} == {"M3"}


@pytest.mark.parametrize("at", ["M2 · respond and judge", "M2 · pairs", "M2 · evaluate"])
def test_a_copy_of_an_unfinished_run_goes_on_while_the_other_is_at_work(copy: Copy, tmp_path: Path, at: str):
    copy.unfinished_from(at)
    for path in (Path(copy.step(at).folder.uri) / "rows").glob("*.parquet"):
        path.unlink()
        break
    with owned(copy.layout.root):
        second = Copy(copy.whole, tmp_path / "second")
        shutil.rmtree(second.folder)
        shutil.copytree(copy.folder, second.folder)
        second.run()
    assert differing(copy, second.folder) == []
