"""Parts that are missing, rows in two forms, and columns in the names of folders."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.store.file_names import missing_parts, partition, same_rows


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], []),
        (["data-00000-of-00003.arrow", "data-00002-of-00003.arrow"], ["data-00001-of-00003.arrow"]),
        (["train-00001-of-00003.jsonl.gz"], ["train-00000-of-00003.jsonl.gz", "train-00002-of-00003.jsonl.gz"]),
        (["a-00002-of-00002.json"], ["a-00001-of-00002.json"]),
        (["part_1_of_2.csv", "part_2_of_2.csv"], []),
        (
            ["a/x-00000-of-00002.json", "b/x-00001-of-00002.json"],
            ["a/x-00001-of-00002.json", "b/x-00000-of-00002.json"],
        ),
        (["train-00000-of-00002-0a1b2c3d.parquet", "train-00001-of-00002-ffee0011.parquet"], []),
        (["train-00000-of-00002-0a1b2c3d.parquet"], ["train-00001-of-00002-*.parquet"]),
        (["out-of-order.jsonl", "1.jsonl", "part-00000.parquet", "part-00002.parquet", "0001.parquet"], []),
    ],
)
def test_parts_that_others_speak_of_are_missing(files: Sequence[str], missing: list[str]):
    assert missing_parts(files) == missing


@given(st.integers(1, 12), st.integers(0, 1), st.sets(st.integers(0, 11)))
def test_exactly_the_parts_that_are_not_there_are_missing(count: int, first: int, gone: set[int]):
    """Counted from 0 or from 1; of those from 1 the last must be there to tell."""
    files = [f"a/x-{n:05d}-of-{count:05d}.jsonl" for n in range(first, first + count)]
    there = [file for n, file in enumerate(files) if n not in gone or (first and n == count - 1)]
    assert missing_parts(there) == ([file for file in files if file not in there] if there else [])


@pytest.mark.parametrize(
    ("files", "same"),
    [
        (["train.jsonl", "train.parquet"], ("train.jsonl", "train.parquet")),
        (["a/x.jsonl", "a/x.jsonl.gz"], ("a/x.jsonl", "a/x.jsonl.gz")),
        (["train-00000-of-00001.parquet", "train.jsonl"], ("train-00000-of-00001.parquet", "train.jsonl")),
        (["data/train.CSV", "json/train.json"], ("data/train.CSV", "json/train.json")),
        (["a.jsonl", "b.parquet"], None),
        (["a/x.jsonl", "b/x.parquet"], None),
        (["x-00000-of-00002.jsonl", "x-00001-of-00002.jsonl"], None),
        (["data/a.jsonl", "json/a.jsonl"], None),
    ],
)
def test_two_files_of_one_name_are_rows_in_two_forms(files: Sequence[str], same: tuple[str, str] | None):
    assert same_rows(files) == same


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("lang=en/part-0.parquet", {"lang": "en"}),
        ("date=2024-01-01/lang=pt%20BR/deep/a=b.jsonl", {"date": "2024-01-01", "lang": "pt BR"}),
        ("lang=__HIVE_DEFAULT_PARTITION__/a.jsonl", {"lang": None}),
        ("system=/a.jsonl", {"system": ""}),
        ("split=train/source=x/a.jsonl", {"source": "x"}),
        ("=x/plain/a.jsonl", {}),
    ],
)
def test_folders_hold_columns(file: str, columns: dict[str, str | None]):
    assert partition(file) == columns
