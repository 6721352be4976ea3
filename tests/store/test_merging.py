"""Blocks of a step become a few large files, and each row counts once at every moment."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_ray.errors import UserError
from selfreward_ray.records import Dropped, Prompt
from selfreward_ray.store import merging
from selfreward_ray.store.arrow import to_table
from selfreward_ray.store.blocks import BLOCKS, PROPOSALS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import (
    count_rows,
    finished_ids,
    read_columns,
    read_files,
    read_rows,
    recorded_rows,
    write_block,
)

PROMPTS = [Prompt(f"M2/q{i:06d}", f"Prompt {i}?") for i in range(1000)]
DROPPED = 7
"""One row of so many is dropped."""


def begun(out: Path, value: int = 1) -> Step:
    step = Step("respond", str(out), {"n": value}, {})
    assert not step.is_done()
    return step


def write_rows(step: Step, prompts: list[Prompt], size: int = 8, place: str = "") -> None:
    for start in range(0, len(prompts), size):
        block = prompts[start : start + size]
        lost = [row for row in block if int(row.id[-3:]) % DROPPED == 0]
        dropped = [Dropped(row.id, "respond", "odd") for row in lost]
        folder = step.folder / place if place else step.folder
        write_block(folder, [row.id for row in block], [row for row in block if row not in lost], Prompt, dropped)


def ids(folder: Folder) -> list[str]:
    """All rows that a reader sees, kept or dropped."""
    return sorted(row["id"] for table in ("rows", "dropped") for row in read_columns(folder / table, ["id"]))


def files(folder: Folder, table: str = "rows") -> list[str]:
    return [path.rsplit("/", 1)[1] for path in (folder / table).files()]


ALL = [prompt.id for prompt in PROMPTS]


def test_a_finished_step_has_a_few_large_files_in_the_order_of_ids_and_no_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("selfreward_ray.store.step.content_digest", None)  # nothing is read again for the digest
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)
    assert (files(step.folder), count_rows(step.folder / "rows"), ids(step.folder)) == ([], 857, ALL)
    manifest = step.finish(offered=1000)
    assert (manifest.rows, manifest.dropped) == ({"rows": 857}, {"odd": 143})
    assert files(step.folder) == files(step.folder, "dropped") == ["merged-000000.parquet"]
    assert step.folder.folders() == ["dropped", "rows"]
    rows = read_rows(step.folder, Prompt)
    assert rows == [prompt for i, prompt in enumerate(PROMPTS) if i % DROPPED]
    assert [len(some) for _, some in read_files(step.folder / "rows", Prompt)] == [857]
    written = pq.ParquetFile((step.folder / "rows").files()[0])
    assert [written.metadata.row_group(i).num_rows for i in range(4)] == [256, 256, 256, 89]


@pytest.mark.parametrize(("limit", "value"), [("ROWS_PER_FILE", 256), ("BYTES_PER_FILE", 2000)])
def test_files_are_cut_by_rows_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int):
    monkeypatch.setattr(merging, limit, value)
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)
    step.finish(offered=1000)
    assert files(step.folder) == [f"merged-{i:06d}.parquet" for i in range(4)]
    assert ids(step.folder) == ALL


def test_the_content_depends_on_the_rows_and_not_on_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merging, "ROWS_PER_FILE", 512)
    whole, cut = begun(tmp_path / "whole"), begun(tmp_path / "cut")
    write_rows(whole, PROMPTS)
    write_rows(cut, PROMPTS[600:650], 5)
    write_rows(cut, PROMPTS[:40], 3)  # an attempt that was interrupted, and the next one, with other blocks
    write_rows(cut, [*PROMPTS[40:600], *PROMPTS[650:]], 16)
    contents = {step.finish(offered=1000).content for step in (whole, cut)}
    assert len(contents) == 1
    for name in ("merged-000000.parquet", "merged-000001.parquet"):
        assert (whole.folder / "rows").read_bytes(name) == (cut.folder / "rows").read_bytes(name)
    other = begun(tmp_path / "other")
    write_rows(other, [*PROMPTS[:-1], Prompt(PROMPTS[-1].id, "Prompt 998?")])
    assert other.finish(offered=1000).content not in contents


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_rows_in_any_blocks_are_all_there_once(tmp_path_factory: pytest.TempPathFactory, by: random.Random, size: int):
    """Also where blocks are no runs of ids, and few rows may wait."""
    step = begun(tmp_path_factory.mktemp("step"))
    prompts = by.sample(PROMPTS, 300)
    write_rows(step, prompts, size)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ROWS_PER_GROUP", 16), ("_MOST_WAITING", by.choice([0, 32])), ("ROWS_PER_FILE", 64)):
            patch.setattr(merging, name, value)
        patch.setattr("selfreward_ray.store.blocks._READ_TOGETHER_BYTES", 4000)
        step.finish(offered=300)
    assert ids(step.folder) == sorted(prompt.id for prompt in prompts)


class Killed(BaseException):
    pass


CHANGES = ("write_bytes", "remove", "delete")


@pytest.fixture
def before_change(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls a function before each change of the storage."""
    calls: list[Callable[[], None]] = []

    def called(real: Any) -> Any:
        def change(*arguments: Any) -> Any:
            for call in calls:
                call()
            return real(*arguments)

        return change

    for name in CHANGES:
        monkeypatch.setattr(Folder, name, called(getattr(Folder, name)))
    yield calls.append
    calls.clear()


@pytest.mark.parametrize("moment", range(12))
def test_a_step_that_is_killed_at_any_moment_of_merging_has_each_row_once_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_change: Any, moment: int
):
    monkeypatch.setattr(merging, "ROWS_PER_FILE", 256)
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)
    left = moment

    def kill() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    before_change(kill)
    try:
        step.finish(offered=1000)
    except Killed:
        pass
    else:
        assert moment > 6  # four files of rows, one of dropped rows, the manifest, the blocks
    left = 1000
    assert ids(step.folder) == ALL
    assert count_rows(step.folder / "rows") == recorded_rows(step.folder / "rows") == 857
    again = Step("respond", str(tmp_path / "out"), {"n": 1}, {})
    if not again.is_done():
        assert moment < 6
        assert finished_ids(again.folder) == set(ALL)
        monkeypatch.setattr(merging, "ROWS_PER_FILE", 512)  # a version that cuts larger files
        again.finish(offered=1000)
        assert files(again.folder) == ["merged-000000.parquet", "merged-000001.parquet"]
        assert again.folder.folders() == ["dropped", "rows"]
    assert ids(again.folder) == ALL
    assert read_manifest(again.folder) is not None


def test_readers_beside_the_merge_see_each_row_once(tmp_path: Path, monkeypatch: Any, before_change: Any):
    monkeypatch.setattr(merging, "ROWS_PER_FILE", 256)
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)
    seen: list[bool] = []
    before_change(lambda: seen.append(ids(step.folder) == ALL and count_rows(step.folder / "rows") == 857))
    step.finish(offered=1000)
    assert seen == [True] * 7


def test_blocks_that_are_half_removed_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)

    def interrupted(folder: Folder) -> None:
        for path in (folder / "rows").files()[::2]:
            Path(path).unlink()
        raise Killed

    monkeypatch.setattr(Folder, "delete", interrupted)
    with pytest.raises(Killed):
        step.finish(offered=1000)
    assert (step.folder / BLOCKS / "rows").files()
    assert ids(step.folder) == ALL
    assert Step("respond", str(tmp_path / "out"), {"n": 1}, {}).is_done()


def test_proposals_are_merged_with_the_step_whose_manifest_decides(
    tmp_path: Path, before_change: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(merging, "ROWS_PER_FILE", 256)
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS, place=PROPOSALS)
    step.write(PROMPTS[:5], Prompt)
    seen: list[bool] = []
    before_change(lambda: seen.append(ids(step.folder / PROPOSALS) == ALL))
    assert step.finish(offered=5).rows == {"rows": 5}
    assert seen == [True] * 7
    assert ids(step.folder / PROPOSALS) == ALL
    assert files(step.folder / PROPOSALS) == [f"merged-{i:06d}.parquet" for i in range(4)]
    assert (step.folder / PROPOSALS).folders() == ["dropped", "rows"]


def test_rows_that_a_step_of_an_earlier_version_left_count_and_stay(tmp_path: Path):
    step = begun(tmp_path / "out")
    (tmp_path / "out" / "rows").mkdir()
    pq.write_table(to_table(PROMPTS[:8], Prompt), tmp_path / "out" / "rows" / "0123456789abcdef.parquet")
    assert finished_ids(step.folder) == {prompt.id for prompt in PROMPTS[:8]}
    write_rows(step, PROMPTS[8:])
    step.finish(offered=1000)
    assert ids(step.folder) == ALL


@dataclass(frozen=True)
class Earlier:
    """`Prompt` without its history."""

    id: str
    text: str


def test_blocks_with_fewer_columns_are_files_of_their_own(tmp_path: Path):
    step = begun(tmp_path / "out")
    for number in range(0, 20, 2):
        block = [Earlier(f"M2/q{number:06d}", "old")]
        write_block(step.folder, [block[0].id], block, Earlier, [])
        write_block(step.folder, [PROMPTS[number + 1].id], [PROMPTS[number + 1]], Prompt, [])
    step.finish(offered=20)
    assert {row.id for row in read_rows(step.folder, Prompt)} == {f"M2/q{i:06d}" for i in range(20)}


def test_a_damaged_block_is_named_and_nothing_is_removed(tmp_path: Path):
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS[:32])
    path = Path((step.folder / BLOCKS / "rows").files()[2])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=rf"{path} is damaged .*; remove it, and its rows are made again$"):
        step.finish(offered=32)
    assert len((step.folder / BLOCKS / "rows").files()) == 4
    assert read_manifest(step.folder) is None
    path.unlink()
    left = begun(tmp_path / "out")
    assert len(finished_ids(left.folder)) in (24, 25, 26)  # its dropped rows are a file of their own


def test_counts_of_a_finished_step_are_its_manifests(tmp_path: Path):
    step = begun(tmp_path / "out")
    write_rows(step, PROMPTS)
    step.finish(offered=1000)
    for table in ("rows", "dropped"):
        (step.folder / table).delete()  # nothing is opened
    assert (recorded_rows(step.folder / "rows"), recorded_rows(step.folder / "dropped")) == (857, 143)
    assert recorded_rows(step.folder / "nothing") == 0
