"""Files of cells as spreadsheets, pandas and people write them: what stands between cells, quotes, and no value."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.store.user_files import Row, RowError, read_user_rows

A = {"prompt": "one", "reply": "a, b; c\td|e"}
B = {"prompt": "two\nlines", "reply": 'say "é"'}


def rows(path: Path, content: str | bytes) -> list[Row]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_user_rows(str(path), "train", "seed_data.source"))


def fields(path: Path, content: str | bytes) -> list[dict[str, Any]]:
    return [row.fields for row in rows(path, content)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_what_stands_between_cells_is_told_by_the_header(
    tmp_path: Path, name: str, between: str, end: str, encoding: str
):
    text = pd.DataFrame([A, B]).to_csv(index=False, sep=between, lineterminator=end)
    found = rows(tmp_path / name, text.encode(encoding))
    assert [row.fields for row in found] == [A, B]
    assert [row.where.rpartition(":")[2] for row in found] == ["2", "3"]


def test_lines_may_end_as_on_old_machines(tmp_path: Path):
    found = rows(tmp_path / "a.csv", 'prompt;reply\rone;"a; b"\r\rtwo;c\r')
    assert [(row.where[-1], row.fields["reply"]) for row in found] == [("2", "a; b"), ("4", "c")]


def test_a_return_within_a_cell_ends_no_row(tmp_path: Path):
    content = "prompt,reply\none,a\rb\n"
    assert fields(tmp_path / "a.tsv", content.replace(",", "\t")) == [{"prompt": "one", "reply": "a\rb"}]
    with pytest.raises(RowError, match=r"a.csv:2: is not CSV \(a line end within a cell\); separate cells by commas"):
        fields(tmp_path / "a.csv", content)


def test_a_line_above_the_header_may_say_what_stands_between_cells(tmp_path: Path):
    found = rows(tmp_path / "a.csv", "sep=;\r\nprompt;reply\r\none;a, b\r\n")
    assert [(row.where[-1], row.fields) for row in found] == [("3", {"prompt": "one", "reply": "a, b"})]


def test_a_header_of_one_name_is_one_column(tmp_path: Path):
    assert fields(tmp_path / "a.csv", "prompt\nHow; why\n") == [{"prompt": "How; why"}]


def test_a_blank_behind_each_comma_of_the_header_belongs_to_no_cell(tmp_path: Path):
    assert fields(tmp_path / "a.csv", 'prompt, reply\none, "a, b"\n') == [{"prompt": "one", "reply": "a, b"}]
    assert fields(tmp_path / "a.csv", "prompt,reply\none, a\n") == [{"prompt": "one", "reply": " a"}]


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "null", "NA", "N/A", "None", "-", " "])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_words_are_texts_and_only_an_empty_cell_has_no_value(tmp_path: Path, name: str, word: str):
    between = "," if name == "a.csv" else "\t"
    content = f'prompt{between}reply\nq{between}{word}\nq{between}\nq{between}""\n'
    assert [row["reply"] for row in fields(tmp_path / name, content)] == [word, None, None]


def test_what_pandas_writes_for_no_value_is_none(tmp_path: Path):
    table = pd.DataFrame({"prompt": ["q", "q", "q"], "reply": [None, float("nan"), "None"]})
    assert [row["reply"] for row in fields(tmp_path / "a.csv", table.to_csv(index=False))] == [None, None, "None"]


def test_a_column_without_a_name_may_hold_row_numbers_or_nothing(tmp_path: Path):
    assert fields(tmp_path / "a.csv", pd.DataFrame([A, B]).to_csv()) == [A, B]
    assert fields(tmp_path / "a.csv", "prompt,\none,\n") == [{"prompt": "one"}]
    with pytest.raises(RowError, match="a.csv:2: has a cell in a column without a name; name the column, or remove"):
        fields(tmp_path / "a.csv", "prompt,\none,text\n")
    with pytest.raises(RowError, match="a.csv:1: two columns have no name"):
        fields(tmp_path / "a.csv", "prompt,,\none,,\n")


@pytest.mark.parametrize(
    ("lines", "cells"),
    [
        ('"Hi" she said\tx', [('"Hi" she said', "x")]),
        ('5" tape\t"7', [('5" tape', '"7')]),
        ('"a\tb', [('"a', "b")]),
        ('"a ""b"""\t"c"', [('a "b"', "c")]),
        ('"a\tb"\tc', [("a\tb", "c")]),
        ('a\t"b\nc"', [("a", "b\nc")]),
        ('"a\nb"\t"c\n\nd"\ne\tf', [("a\nb", "c\n\nd"), ("e", "f")]),
        ('"a\tb\nc\td\n"e" f\tg', [('"a', "b"), ("c", "d"), ('"e" f', "g")]),
    ],
)
def test_a_quote_between_tabs_is_a_mark_or_a_character_by_the_number_of_cells(
    tmp_path: Path, lines: str, cells: list[tuple[str, str]]
):
    found = fields(tmp_path / "a.tsv", f"prompt\treply\n{lines}\nlast\tone\n")
    assert [tuple(row.values()) for row in found] == [*cells, ("last", "one")]


def test_quotes_between_tabs_that_may_be_both_are_an_error(tmp_path: Path):
    with pytest.raises(
        RowError, match=r"a.tsv:3: is not TSV \(a quote may begin a cell of several lines, or be a char"
    ):
        fields(tmp_path / "a.tsv", 'prompt\treply\na\tb\nc\t"d\ne\tf"\n')


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip)
TEXTS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4)


@given(TEXTS)
def test_what_pandas_writes_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]):
    content = pd.DataFrame(texts, columns=["prompt", "reply"]).to_csv(index=False)
    found = fields(tmp_path_factory.getbasetemp() / "a.csv", content)
    assert [tuple(row.values()) for row in found] == texts


@given(TEXTS)
def test_tabs_by_pandas_are_read_as_they_were_or_refused(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
):
    content = pd.DataFrame(texts, columns=["prompt", "reply"]).to_csv(index=False, sep="\t")
    try:
        found = fields(tmp_path_factory.getbasetemp() / "a.tsv", content)
    except RowError:
        assert any("\t" in cell and "\n" in cell for row in texts for cell in row)
    else:
        assert [tuple(row.values()) for row in found] == texts


def test_a_row_with_another_number_of_cells_is_a_bad_row_and_the_next_one_is_read(tmp_path: Path):
    first, bad, last = rows(tmp_path / "a.csv", 'prompt,reply\none,a\ntwo,b,c\nthree,"d\ne"\n')
    assert (first.fields["reply"], last.fields["reply"], last.where[-1]) == ("a", "d\ne", "4")
    assert bad.fault is not None
    assert bad.fault.reason == "has another number of cells than the header"
    with pytest.raises(RowError, match=re.escape(":3: has another number of cells than the header (3 cells, the head")):
        _ = bad.fields
