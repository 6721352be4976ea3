import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from stores import Offline

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import RankedSet
from selfreward_ray.seed.readers import read_seed
from selfreward_ray.store import json_rows
from selfreward_ray.store.user_files import RowError, read_user_rows

Fields = dict[str, Any]


def lines(*rows: Fields) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def gzipped(data: bytes) -> bytes:
    """Gzip without a timestamp: pytest names a test by its bytes, and the name must not change."""
    return gzip.compress(data, mtime=0)


def parquet(*rows: Fields) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def fields(source: str | Path) -> list[Fields]:
    return [row.fields for row in read_user_rows(str(source), "train", "seed_data.source")]


A, B, C = ({"n": n, "text": text} for n, text in enumerate(("one\u2028half\x85", "é", "c")))
MANY = [{"n": n, "text": "é" * 1000} for n in range(600)]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.jsonl", lines(A, B), [A, B]),
        ("a.jsonl", lines(A, B).removesuffix(b"\n"), [A, B]),
        ("a.jsonl", lines(A, B).replace(b"\n", b"\r\n"), [A, B]),
        ("a.jsonl", b"\n \n" + lines(A) + b"\n\n" + lines(B), [A, B]),
        ("a.json", b"\xef\xbb\xbf" + lines(A, B), [A, B]),
        ("rows.txt", lines(A), [A]),
        ("a.jsonl", lines(*MANY), MANY),
        ("a.jsonl.gz", gzipped(lines(*MANY)), MANY),
        ("a.jsonl.gz", gzipped(lines(A)) + gzipped(lines(B)), [A, B]),
        ("a.parquet", parquet(*MANY), MANY),
        ("a.parquet", parquet({"m": [{"role": "user"}], "id": None}), [{"m": [{"role": "user"}], "id": None}]),
        ("a.jsonl", lines({"text": "é" * 1_000_000}), [{"text": "é" * 1_000_000}]),
        ("a.csv", b"n,text\n1,one\n\n2,\n", [{"n": "1", "text": "one"}, {"n": "2", "text": None}]),
        ("a.csv", b'\xef\xbb\xbfn,text\r\n1,"a ""b"", c\nd"\r\n', [{"n": "1", "text": 'a "b", c\nd'}]),
        ("a.csv", f"text\n{'é' * 1_000_000}\n".encode(), [{"text": "é" * 1_000_000}]),
        ("a.csv.gz", gzipped("text\né\u2028".encode()), [{"text": "é\u2028"}]),
        ("a.csv", b"n,text\n", []),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_of_a_file(tmp_path: Path, name: str, content: bytes, rows: list[Fields], scheme: str):
    (tmp_path / name).write_bytes(content)
    assert fields(f"{scheme}{tmp_path}/{name}") == rows


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("name", "pack"), [("a.json", bytes), ("a.jsonl.gz", gzipped)])
def test_a_file_that_is_one_json_array_gives_its_objects(
    tmp_path: Path, indent: int | None, name: str, pack: Callable[[bytes], bytes]
):
    (tmp_path / name).write_bytes(pack(b"\xef\xbb\xbf\n " + json.dumps([A, B, *MANY], indent=indent).encode()))
    rows = list(read_user_rows(str(tmp_path / name), "train", "seed_data.source"))
    assert [row.fields for row in rows] == [A, B, *MANY]
    assert rows[1].where == f"{tmp_path}/{name}: row 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"n": 1},\n {"n": }]', r"a.json: is not JSON \(Expecting value, line 2, column 8\)"),
        (b'[{"n": 1}]\n[{"n": 2}]', r"a.json: is not JSON \(Extra data, line 2, column 1\)"),
        (b'[{"n": 1}, [2]]', r"a.json: row 2: is a JSON array; write one JSON object a line"),
        (b'["one"]', r"a.json: row 1: is a JSON string"),
        (b"[" + b" " * 100 + b"]", r"a.json: is a JSON array of more than 0 MiB; write one JSON object a line \(jq"),
    ],
)
def test_an_array_that_cannot_be_used_says_why(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_rows, "ARRAY_BYTES", 64)
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RowError, match=message):
        fields(tmp_path / "a.json")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_that_is_cut_off_is_named_by_its_column(tmp_path: Path, end: bytes):
    (tmp_path / "a.jsonl").write_bytes(lines(A) + b'{"text":' + end)
    reason = "is not JSON" if end else "is the last line, and cut off"
    with pytest.raises(RowError, match=rf"a.jsonl:2: {reason} \(Expecting value, column 9\)"):
        fields(tmp_path / "a.jsonl")


def test_a_byte_order_mark_within_a_file_is_no_white_space(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(lines(A) + b"\xef\xbb\xbf" + lines(B))
    with pytest.raises(RowError, match=r"a.jsonl:2: is not JSON"):
        fields(tmp_path / "a.jsonl")


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, scheme: str, end: str):
    (tmp_path / "b.jsonl.gz").write_bytes(gzipped(lines(B)))
    (tmp_path / "c.parquet").write_bytes(parquet(C))
    (tmp_path / "a.json").write_bytes(lines(A))
    (tmp_path / "README.md").write_bytes(b"\xff")
    (tmp_path / "d.jsonl").mkdir()
    source = f"{scheme}{tmp_path}{end}"
    rows = list(read_user_rows(source, "train", "seed_data.source"))
    assert [row.fields for row in rows] == [A, B, C]
    names = ["a.json:1", "b.jsonl.gz:1", "c.parquet: row 1"]
    assert [row.where for row in rows] == [f"{scheme}{tmp_path}/{name}" for name in names]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 but not really", "cannot read .*/a.parquet: .* is the file whole?"),
        ("a.parquet", parquet(A)[:-20], "cannot read .*/a.parquet: .* is the file whole?"),
        ("a.jsonl.gz", lines(A), "cannot read .*/a.jsonl.gz: .* is the file whole?"),
        ("a.jsonl.gz", gzipped(lines(*MANY))[:-9], "cannot read .*/a.jsonl.gz: .* is the file whole?"),
        ("a.jsonl", lines(A) + gzipped(lines(A)), "a.jsonl:2: is not UTF-8 text"),
        ("README.md", b"read me", "folder .* holds no file with rows; their names end in .jsonl, .ndjson, .json, .csv"),
        (
            "a.csv",
            b'n,text\n1,"one\ntwo"\n3\n',
            r"a.csv:4: has another number of cells than the header \(1 cells, the header 2\); separate cells by c",
        ),
        ("a.csv", b"n,text\n1,one, two\n", r"a.csv:2: has another .* \(3 cells, the header 2\); .* in double quotes"),
        ("a.csv", b'n,text\n1,"one\n', r"a.csv:2: is not CSV \(unexpected end of data\)"),
        ("a.csv", b"n,n\n1,2\n", "a.csv:1: two columns are named 'n'; rename one"),
        ("a.csv", b"n\n1\n\xff\n", "a.csv:.* is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RowError, match=message):
        fields(tmp_path)


def test_rows_of_parquet_are_numbered_through(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(parquet(*MANY))
    wheres = [
        row.where.removeprefix(f"{tmp_path}/")
        for row in read_user_rows(f"{tmp_path}/a.parquet", "train", "seed_data.source")
    ]
    assert wheres == [f"a.parquet: row {number}" for number in range(1, 601)]


def test_a_row_of_parquet_with_a_text_that_is_not_utf8_is_named(tmp_path: Path):
    texts = pa.array([b"good"] * 300 + [b"\xff"], pa.binary())
    unchecked = pa.StringArray.from_buffers(len(texts), *texts.buffers()[1:], texts.buffers()[0])
    pq.write_table(pa.table({"text": unchecked}), tmp_path / "a.parquet")
    *good, bad = read_user_rows(f"{tmp_path}/a.parquet", "train", "seed_data.source")
    assert [row.fields for row in good] == [{"text": "good"}] * 300
    with pytest.raises(RowError, match=r"a.parquet: row 301: a text is not UTF-8; write the file again"):
        _ = bad.fields


@pytest.mark.parametrize(
    "source", ["no.jsonl", "deep/no.jsonl", "deep/no.parquet", "a/b/c", "file:///no/such/file", "x"]
)
def test_what_is_not_there_is_said_without_asking_the_hub(source: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RowError, match=rf"seed_data.source: cannot read {source}: there is no such file or folder"):
        fields(source)


def test_an_unknown_scheme_is_the_users_error():
    with pytest.raises(RowError, match="seed_data.source: cannot open storage 'gopher://a/b'"):
        fields("gopher://a/b")


def test_storage_that_can_not_be_reached_is_named_with_the_field(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fs, "FileSystem", Offline)
    with pytest.raises(RowError, match=r"seed_data.source: cannot read s3://b/x: .*does the bucket exist.*no network"):
        fields("s3://b/x")


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(lines(A, B) + b"nonsense")
    rows = read_user_rows(str(tmp_path), "train", "seed_data.source")
    assert [next(rows).fields, next(rows).fields] == [A, B]


class Hub:
    """Stands in for `datasets`: one data set with one split, which breaks off after `rows`."""

    def __init__(self, rows: list[Fields], broken: bool = False):
        self.rows, self.broken, self.asked, self.splits = rows, broken, [], ["train"]

    def load_dataset(self, name: str, config: str | None, *, split: str | None, streaming: bool) -> Any:
        self.asked.append((name, config, split, streaming))
        if split is None:
            return {split: self._stream() for split in self.splits}
        if split not in self.splits:
            raise ValueError(f"Bad split: {split}")
        return self._stream()

    def _stream(self) -> Iterator[Fields]:
        yield from self.rows
        if self.broken:
            raise ConnectionError("cable cut")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    hub = Hub([{"message_id": "m", "parent_id": None, "message_tree_id": "m", "text": "hi", "role": "prompter"}])
    hub.rows.append({**hub.rows[0], "message_id": "n", "parent_id": "m", "role": "assistant", "rank": 0})
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=hub.load_dataset))
    monkeypatch.chdir(tmp_path)
    return hub


def test_a_hub_data_set_is_streamed(hub: Hub):
    (found,) = read_seed(SeedData(source="OpenAssistant/oasst1"))
    assert isinstance(found, RankedSet)
    assert (found.id, found.replies[0].id) == ("m", "n")
    assert hub.asked == [("OpenAssistant/oasst1", None, "train", True)]


def test_a_configuration_of_a_hub_data_set_is_named_before_its_split(hub: Hub):
    assert len(list(read_user_rows("o/n", "en/train", "seed_data.source"))) == 2
    assert hub.asked == [("o/n", "en", "train", True)]


def test_the_only_split_of_a_hub_data_set_needs_no_name(hub: Hub):
    hub.splits = ["eval"]
    assert len(list(read_user_rows("o/n", None, "--replies"))) == 2
    hub.splits = ["eval", "test"]
    with pytest.raises(RowError, match=r"--replies: .*'o/n' .*: it has the splits eval, test; give the files of one"):
        list(read_user_rows("o/n", None, "--replies"))


def test_a_folder_of_that_name_comes_before_the_hub(hub: Hub, tmp_path: Path):
    (tmp_path / "OpenAssistant" / "oasst1").mkdir(parents=True)
    (tmp_path / "OpenAssistant" / "oasst1" / "a.jsonl").write_bytes(lines(A))
    assert fields("OpenAssistant/oasst1") == [A]
    assert hub.asked == []


@pytest.mark.parametrize(
    ("split", "message"),
    [("val", "cannot read split 'val' of data set 'o/n' .*: Bad split: val; correct"), ("train", "'o/n'.* cable cut")],
)
def test_what_fails_at_the_hub_is_told_with_a_remedy(hub: Hub, split: str, message: str):
    hub.broken = True
    with pytest.raises(RowError, match=rf"seed_data.source: {message if split == 'val' else '.*' + message}"):
        list(read_seed(SeedData(source="o/n", split=split)))


def test_a_wrong_row_of_a_hub_data_set_is_named(hub: Hub):
    hub.rows[1]["rank"] = "first"
    with pytest.raises(RowError, match=r"1 × field 'rank' is not a number \(first: o/n: row 2\)"):
        list(read_seed(SeedData(source="o/n")))
