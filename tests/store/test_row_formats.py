"""What a file holds is told by its ending; packed, indented and Arrow files give the same rows as JSON lines."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfreward_ray.store import json_rows
from selfreward_ray.store.row_formats import SUFFIXES
from selfreward_ray.store.user_files import Row, RowError, read_user_rows

A = {"prompt": "one\u2028half", "reply": 'a "b"'}
B = {"prompt": "two", "reply": "é"}


def rows(path: Path) -> list[Row]:
    return list(read_user_rows(str(path), "train", "seed_data.source"))


def fields(path: Path) -> list[dict[str, Any]]:
    return [row.fields for row in rows(path)]


def lines(*given: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in given)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
    ".xz": lzma.compress,
}
CONTENT = {
    ".jsonl": lines(A, B),
    ".ndjson": lines(A, B),
    ".json": json.dumps([A, B], indent=2).encode(),
    ".csv": 'prompt,reply\none\u2028half,"a ""b"""\ntwo,é\n'.encode(),
    ".tsv": 'prompt\treply\none\u2028half\t"a ""b"""\ntwo\té\n'.encode(),
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind_of_text_is_read_packed_or_not_alone_or_in_a_folder(tmp_path: Path, kind: str, packed: str):
    for name in (f"rows{kind}{packed}", f"ROWS{kind}{packed}".upper()):
        file = tmp_path / name.partition(".")[0] / name
        file.parent.mkdir()
        file.write_bytes(PACKED[packed](CONTENT[kind]))
        assert file.name[4:].lower() in SUFFIXES
        assert fields(file) == fields(file.parent) == [A, B]


def test_no_other_ending_is_said_to_be_read():
    assert set(SUFFIXES) == {kind + packed for kind in CONTENT for packed in PACKED} | {".parquet", ".arrow"}


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_both_forms_of_arrow_files_are_read_and_numbered_through(tmp_path: Path, new: Any):
    table = pa.Table.from_pylist([{"n": n, "said": [{"role": "user"}]} for n in range(600)])
    with new(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=400)
    found = rows(tmp_path / "a.arrow")
    assert [row.fields for row in found] == table.to_pylist()
    assert [row.where.rpartition(": ")[2] for row in found] == [f"row {number}" for number in range(1, 601)]


@pytest.mark.parametrize("between", ["\n", "\n\n", "", " "])
def test_objects_that_spread_over_lines_are_read_with_the_line_where_each_begins(tmp_path: Path, between: str):
    text = between.join(json.dumps(row, indent=2, ensure_ascii=False) for row in (A, B, A))
    (tmp_path / "a.json").write_text(f"\n {text}\n", encoding="utf-8")
    found = rows(tmp_path / "a.json")
    assert [row.fields for row in found] == [A, B, A]
    step = 3 + between.count("\n")  # an object takes four lines
    assert [row.where for row in found] == [f"{tmp_path}/a.json:{2 + n * step}" for n in range(3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1\n},\n{\n  "a": 2\n}', r"a.json:3: is not JSON \(Expecting value, column 2\); .*jq -c \."),
        ('{\n  "a": 1\n}\n{\n  "a": \n}', r"a.json:6: is not JSON \(Expecting value, column 1\)"),
        ('{\n  "a": 1\n}\n[\n  1\n]', "a.json:4: is a JSON array"),
        ('{\n  "a": ' + "9" * 5000 + "\n}", "a.json:1: is nested too deeply, or holds a number too long"),
        ('{\n  "a": "' + "b" * 9000 + '"\n}', "a.json: has objects over several lines in more than 0 MiB; write one"),
    ],
)
def test_a_fault_in_objects_that_spread_over_lines_has_its_line(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_rows, "ARRAY_BYTES", 8000)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RowError, match=message):
        fields(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a\tb\nc\n",
            r"a.tsv:2: has another number of cells than the header \(1 cells, the header 2\); separate cells by tabs",
        ),
        (b'a\tb\n"c\td"\te\tf\n', r"a.tsv:2: has another .* \(3 cells, the header 2\); separate cells by tabs"),
    ],
)
def test_a_fault_in_a_file_of_tabs_speaks_of_tabs(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(RowError, match=message):
        fields(tmp_path / "a.tsv")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.arrow", "a.csv"])
def test_a_pointer_of_git_lfs_is_said_to_be_one(tmp_path: Path, name: str):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n")
    with pytest.raises(RowError, match=rf"/{name}: is a pointer of git-lfs.*run git lfs pull"):
        rows(tmp_path / name)


PARQUET = io.BytesIO()
pq.write_table(pa.Table.from_pylist([A, B]), PARQUET)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            gzip.compress(lines(A), mtime=0),
            "is packed by gzip; unpack it, or give its name the ending of wh",
        ),
        ("a.csv", bz2.compress(lines(A)), "is packed by bz2"),
        ("a.json", zstd(lines(A)), "is packed by zstd"),
        ("rows.txt", lzma.compress(lines(A)), "is packed by xz"),
        ("a.jsonl.gz", lzma.compress(lines(A)), "is packed by xz"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(lines(A), mtime=0), mtime=0), "is packed by gzip"),
        (
            "a.tar.gz",
            gzip.compress(b"a".ljust(257, b"\0") + b"ustar\0", mtime=0),
            "is a tar archive; unpack it, and give",
        ),
        ("a.csv", b"PK\x03\x04", "is an archive or a workbook; unpack it, or save its sheet as CSV"),
        ("a.json", PARQUET.getvalue(), "is a Parquet file; give its name the ending .parquet"),
        ("a.arrow", PARQUET.getvalue(), "is a Parquet file"),
        ("a.parquet", b"ARROW1\0\0", "is an Arrow file"),
        ("a.parquet", b"\n<!DOCTYPE html><html>", "is a web page; download the file itself"),
        ("a.jsonl", b"<html lang=en>", "is a web page"),
        ("a.db", b"SQLite format 3\0", "is an SQLite database"),
        ("a.pkl", b"\x80\x04\x95", "is a pickle"),
        ("a.csv", "prompt,reply\na,b\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("a.jsonl", lines(A).decode().encode("utf-16-le"), "is UTF-16 text"),
    ],
)
def test_what_the_first_bytes_tell_is_said_whatever_the_name_says(
    tmp_path: Path, name: str, content: bytes, message: str
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RowError, match=rf"^{tmp_path}/{name}: {message}"):
        rows(tmp_path / name)


def test_a_word_of_a_text_tells_no_kind(tmp_path: Path):
    row = {"a": " " * (257 - 7) + "ustard"}
    (tmp_path / "a.jsonl").write_bytes(lines(row))
    assert lines(row)[257:262] == b"ustar"
    assert fields(tmp_path / "a.jsonl") == [row]


@pytest.mark.parametrize("kind", [kind for kind in PACKED if kind])
def test_a_file_that_is_packed_and_cut_off_is_an_error(tmp_path: Path, kind: str):
    (tmp_path / f"a.jsonl{kind}").write_bytes(PACKED[kind](lines(*[{"n": str(n)} for n in range(999)]))[:-9])
    with pytest.raises(RowError, match=r"cannot read .*: .* is the file whole\?"):
        rows(tmp_path / f"a.jsonl{kind}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1,\n "b": 2}\n{"a": 3}\n', [{"a": 1, "b": 2}, {"a": 3}]),
        ('{"a": 1}{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('\n{"a": 1,}\n{"a": 2}\n', [None, {"a": 2}]),
        ('{"a": "cut\n{"a": 2}\n\n{"a": 3', [None, {"a": 2}, None]),
        ('{"a": 1} more\n{"a": 2}\n', [None, {"a": 2}]),
        ('no\n{"a": 2}\n', [None, {"a": 2}]),
        ('{"a": 1}\n{\n"a": 2}\n', [{"a": 1}, None, None]),
    ],
)
def test_objects_over_lines_are_told_from_lines_that_are_no_rows(
    tmp_path: Path, text: str, found: list[dict[str, Any] | None]
):
    (tmp_path / "a.jsonl").write_text(text)
    read = rows(tmp_path / "a.jsonl")
    assert [None if row.fault else row.fields for row in read] == found
    places = [int(row.where.rpartition(":")[2]) for row in read]
    assert places == sorted(places)


def test_a_large_file_whose_first_line_is_no_row_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_rows, "ARRAY_BYTES", 64)
    (tmp_path / "a.jsonl").write_bytes(b'{"cut": "\n' + lines(*[{"n": n} for n in range(50)]))
    bad, *good = rows(tmp_path / "a.jsonl")
    assert bad.fault is not None
    assert [(row.fields["n"], row.where) for row in good] == [(n, f"{tmp_path}/a.jsonl:{n + 2}") for n in range(50)]


@pytest.mark.parametrize(("name", "content"), [("a.arrow", b"ARROW1 but not really"), ("a.jsonl.zst", lines(A))])
def test_what_is_not_what_its_ending_says_is_named(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RowError, match=rf"cannot read .*/{name}: .* is the file whole\?"):
        rows(tmp_path / name)
