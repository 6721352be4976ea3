"""Batches from rows on disk: those of a plan that has all rows in memory, with the rows of any number of files."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.training import Optimization
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows, write_part
from selfreward_ray.training import token_table
from selfreward_ray.training.batches import Batch, _deal, plan_batches, read_ahead
from selfreward_ray.training.token_table import TokenTable

OPTIMIZATION = Optimization(
    learning_rate=1.0, final_learning_rate=0.1, batch_size=7, micro_batch_tokens=90, epochs=3, max_tokens=200
)


def pairs(count: int, *, judging: bool) -> list[PairTokens]:
    """Pairs whose prompts and replies begin alike in families, some with a judging row, a context, smoothing."""
    rng = random.Random(count)

    def pair(n: int) -> PairTokens:
        prompt = (rng.randrange(4),) * 6 + (10 + n,) * rng.randint(1, 9)
        replies = [(rng.randrange(3),) * rng.randint(1, 5) + (n, side) for side in (1, 2)]
        eft = SftTokens(f"s{n % 5}/eft", (99,) * 12, (n % 5, 7), 1) if judging else None
        return PairTokens(f"p{n}", prompt, *replies, 0.1 * (n % 2), eft, n % 2, 0, ("why",) * (n % 3))

    return [pair(n) for n in range(count)]


def sft_rows(count: int) -> list[SftTokens]:
    return [SftTokens(f"r{n}", (n % 3,) * 5 + (n,), (4,) * (1 + n % 11), n % 2) for n in range(count)]


ROWS: dict[str, tuple[list[Any], type[Any]]] = {
    "pairs": (pairs(61, judging=False), PairTokens),
    "pairs that carry judging rows": (pairs(64, judging=True), PairTokens),
    "sft": (sft_rows(50), SftTokens),
    "one": (sft_rows(1), SftTokens),
}


def stored(folder: Path, rows: list[Any], record: type[Any], rows_per_file: int) -> TokenTable[Any]:
    for first in range(0, len(rows), rows_per_file):
        write_part(Folder(str(folder)), "rows", rows[first : first + rows_per_file], record, f"pair-{first:06d}")
    return TokenTable(Folder(str(folder)) / "rows", record)


def planned_at_once(rows: list[Any], ranks: int, seed: int) -> list[Batch[Any]]:
    """All steps of all rows in memory, in the order that `random.sample` gives each epoch."""
    rng, size = random.Random(seed), OPTIMIZATION.batch_size
    orders = [rng.sample(rows, len(rows)) for _ in range(OPTIMIZATION.epochs)]
    return [
        _deal(order[first : first + size], OPTIMIZATION.micro_batch_tokens, ranks)
        for order in orders
        for first in range(0, len(order), size)
    ]


@pytest.mark.parametrize("rows_per_file", [1, 5, 20, 1000])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("name", ROWS)
def test_batches_are_those_of_a_plan_with_all_rows_in_memory(tmp_path: Path, name: str, ranks: int, rows_per_file: int):
    rows, record = ROWS[name]
    table = stored(tmp_path, rows, record, rows_per_file)
    in_memory = read_rows(Folder(str(tmp_path)), record)
    assert list(table) == in_memory == rows
    assert list(plan_batches(table, OPTIMIZATION, ranks, seed=3)) == planned_at_once(in_memory, ranks, seed=3)


@pytest.mark.parametrize("first", [0, 1, 8, 9, 13, 26, 27])
def test_a_training_that_goes_on_has_the_steps_that_are_left(tmp_path: Path, first: int):
    """From the middle of an epoch, from its end, and with other ranks than before."""
    rows, record = ROWS["pairs that carry judging rows"]
    table = stored(tmp_path, rows, record, 20)
    whole = {ranks: planned_at_once(rows, ranks, seed=1) for ranks in (2, 3)}
    for ranks in (2, 3, 2):
        plan = plan_batches(table, OPTIMIZATION, ranks, seed=1)
        left = list(read_ahead(plan, range(first, len(plan))))
        assert left == list(enumerate(whole[ranks]))[first:]


def test_steps_can_be_asked_for_in_any_order():
    rows, _ = ROWS["pairs"]
    plan, expected = plan_batches(rows, OPTIMIZATION, 2, seed=5), planned_at_once(rows, 2, seed=5)
    assert len(plan) == len(expected)
    for step in [20, 3, 26, 0, -1, 9]:
        assert plan[step] == expected[step]
    assert plan[8:19] == expected[8:19]
    with pytest.raises(IndexError):
        plan[len(expected)]


class Counted(list[Any]):
    """Rows of which it is known how many were asked for."""

    asked = 0

    def __getitem__(self, row: Any) -> Any:
        self.asked += 1
        return super().__getitem__(row)


def test_no_more_than_the_next_step_is_read():
    rows = Counted(sft_rows(50))
    plan = plan_batches(rows, OPTIMIZATION, 2, seed=0)
    assert rows.asked == 0
    steps = read_ahead(plan)
    for step in range(4):
        next(steps)
        assert rows.asked <= (step + 2) * OPTIMIZATION.batch_size
    steps.close()


def test_what_a_step_raises_while_it_is_read_is_raised():
    class Broken(Counted):
        def __getitem__(self, row: Any) -> Any:
            if self.asked == 10:
                raise OSError("the disk is gone")
            return super().__getitem__(row)

    with pytest.raises(OSError, match="the disk is gone"):
        list(read_ahead(plan_batches(Broken(sft_rows(50)), OPTIMIZATION, 1, seed=0)))


def test_a_full_disk_is_told_of_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full: Callable[[], Any] = lambda: open("/dev/full", "w+b")  # noqa: E731, SIM115
    monkeypatch.setattr(token_table.tempfile, "TemporaryFile", full)
    with pytest.raises(UserError, match=r"no room for a copy of .*rows in .*TMPDIR"):
        stored(tmp_path, sft_rows(50), SftTokens, 50)


def test_a_damaged_file_is_named(tmp_path: Path):
    stored(tmp_path, sft_rows(50), SftTokens, 20)
    file = tmp_path / "rows" / "pair-000020.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"{file} is damaged"):
        TokenTable(Folder(str(tmp_path)) / "rows", SftTokens)
