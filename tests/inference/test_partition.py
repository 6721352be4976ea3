"""A table cut into blocks, and the rows that each of them reads back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.inference import block as block_module
from selfreward_ray.inference import partition
from selfreward_ray.inference.partition import partition_table, read_block, rows_in
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part

ROWS = [Prompt(f"p{i:03d}", f"text {i}") for i in range(700)]


@pytest.fixture
def table(tmp_path: Path) -> Folder:
    """Three files, one of them of several row groups."""
    here = Folder(str(tmp_path))
    for name, rows in (("a", ROWS[:3]), ("b", ROWS[3:690]), ("c", ROWS[690:])):
        write_part(here, "rows", rows, Prompt, name)
    return here / "rows"


def read(table: Folder, blocks: list[partition.BlockSpec]) -> list[list[Prompt]]:
    return [asyncio.run(read_block(block, table, Prompt)) for block in blocks]


def test_every_row_is_in_one_block(table: Folder):
    blocks = partition_table(table, set(), 64)
    found = read(table, blocks)
    assert [len(rows) for rows in found] == [64] * 10 + [60]
    assert [row for rows in found for row in rows] == ROWS
    assert rows_in(blocks) == 700


def test_finished_rows_are_in_none(table: Folder):
    finished = {row.id for row in ROWS if row.id not in ("p001", "p300", "p699")}
    (found,) = read(table, partition_table(table, finished, 64))
    assert [row.id for row in found] == ["p001", "p300", "p699"]
    assert partition_table(table, {row.id for row in ROWS}, 64) == []


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_block_is_read_again_where_storage_fails_for_a_while(
    table: Folder, failures: int, monkeypatch: pytest.MonkeyPatch
):
    left = [OSError("connection reset")] * failures
    works = partition._read

    def fails(*arguments: Any) -> Any:
        if left:
            raise left.pop()
        return works(*arguments)

    monkeypatch.setattr(partition, "_read", fails)
    monkeypatch.setattr(block_module, "RETRY_DELAYS_S", (0.0, 0.0))
    (block,) = partition_table(table, set(), 1000)
    if failures < 3:
        assert read(table, [block]) == [ROWS]
    else:
        with pytest.raises(OSError, match="connection reset"):
            read(table, [block])
