"""Which files of a folder are read: the split that is asked for and no other, nothing hidden, nothing lost silently."""

import json
from pathlib import Path

import datasets
import pytest
from pyarrow import fs

from selfreward_ray.store import user_files
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.identity import input_fingerprint
from selfreward_ray.store.user_files import RowError, has_files, read_user_rows


def write(root: Path, *names: str) -> str:
    """Files of one row, its own name. Those of CSV have a header."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        row = f"name\n{name}\n" if name.endswith(".csv") else json.dumps({"name": name}) + "\n"
        (root / name).write_text(row)
    return str(root)


def read(source: str, split: str | None = "train", field: str = "seed_data.source") -> list[str]:
    return [row.fields["name"] for row in read_user_rows(source, split, field)]


CLONE = ("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test-00000-of-00001.jsonl")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_of_a_clone_the_split_is_read_that_is_asked_for(tmp_path: Path, scheme: str):
    source = scheme + write(tmp_path, *CLONE)
    (tmp_path / "README.md").write_text("---\nconfigs: []\n---\n")
    assert read(source) == list(CLONE[:2])
    assert read(source, "test") == list(CLONE[2:])
    (row,) = read_user_rows(source, "test", "seed_data.source")
    assert row.where == f"{source}/{CLONE[2]}:1"


@pytest.mark.parametrize(
    ("field", "split", "message"),
    [
        (
            "seed_data.source",
            "train",
            "has no split 'train'; it has test_gen, train_gen; set seed_data.split to one of",
        ),
        ("prompts.source", "val", "has no split 'val'; it has test_gen, train_gen; set prompts.split to one of them"),
        ("--prompts", None, "has several splits; it has test_gen, train_gen; name the files or the folder of one"),
    ],
)
def test_a_split_that_is_not_there_is_an_error_that_lists_those_that_are(
    tmp_path: Path, field: str, split: str | None, message: str
):
    source = write(tmp_path, "data/train_gen-00000-of-00001.jsonl", "data/test_gen-00000-of-00001.jsonl")
    with pytest.raises(RowError, match=f"^{field}: folder {source} {message}"):
        read(source, split, field)
    with pytest.raises(RowError, match="it has test_gen, train_gen"):
        has_files(source, split, field)


def test_a_folder_without_names_of_splits_is_train_as_a_whole(tmp_path: Path):
    source = write(tmp_path, "b.jsonl", "a/z.jsonl", "a/b/c.csv")
    assert read(source) == read(source, None) == ["a/b/c.csv", "a/z.jsonl", "b.jsonl"]
    with pytest.raises(RowError, match=r"has no split 'test': neither .* set seed_data.split=train to read them"):
        read(source, "test")


def test_a_file_is_read_whatever_the_split(tmp_path: Path):
    write(tmp_path, "test.jsonl")
    assert read(f"{tmp_path}/test.jsonl") == ["test.jsonl"]


def test_files_beside_named_splits_are_read_for_none_of_them(tmp_path: Path):
    """They may hold anything; what is trained on is told by its name, or named."""
    source = write(tmp_path, "more.jsonl", "test.jsonl")
    with pytest.raises(RowError, match=r"has no split 'train'; it has test \(more.jsonl: the name tells no split\)"):
        read(source)
    assert read(source, "test") == ["test.jsonl"]


@pytest.mark.parametrize(
    "name",
    [
        ".git/a.jsonl",
        ".cache/huggingface/a.jsonl",
        ".a.jsonl",
        "_temporary/0/a.jsonl",
        "_metadata",
        "_SUCCESS",
        "_log/0.json",
    ],
)
def test_what_is_hidden_is_never_read(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    assert read(write(tmp_path, "a.jsonl", name)) == ["a.jsonl"]
    assert capsys.readouterr().err == ""


def test_the_folder_itself_may_be_hidden(tmp_path: Path):
    assert read(write(tmp_path / ".cache" / "_mine", "a.jsonl")) == ["a.jsonl"]


def test_files_that_are_not_read_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path, "train/a.jsonl", "b.jsonl", "c.zip", "sub/d.TXT", "README.md", "LICENSE", "README.de.txt")
    source = write(tmp_path, "dataset_infos.json", "dataset_info.json", "config.json")
    assert read(source) == read(source) == ["train/a.jsonl"]
    said = capsys.readouterr().err
    assert said.startswith(f"seed_data.source: not read in {source}: c.zip, sub/d.TXT (files with rows end in .jsonl,")
    assert "; b.jsonl (their names tell no split)" in said
    assert said.count("\n") == 1


def test_many_files_that_are_not_read_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path, "a.jsonl", *(f"{n}.txt" for n in range(9)))
    assert read(str(tmp_path)) == ["a.jsonl"]
    assert "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more (" in capsys.readouterr().err


CARD = """---
configs:
- config_name: en
  data_files: [{split: train, path: "en/*.jsonl"}, {split: test, path: "held/*.jsonl"}]
- config_name: de
  data_files: [{split: train, path: "de/**"}, {split: gone, path: "x/*"}]
---
"""


def test_the_card_of_a_clone_decides_and_its_configurations_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = write(tmp_path, "en/test_a.jsonl", "held/a.jsonl", "de/1/a.jsonl", "old.jsonl")
    (tmp_path / "README.md").write_text(CARD)
    assert read(source, "en/train") == ["en/test_a.jsonl"]
    assert read(source, "en/test") == ["held/a.jsonl"]
    assert read(source, "de/train") == ["de/1/a.jsonl"]
    with pytest.raises(RowError, match="has no split 'train'; it has de/gone, de/train, en/test, en/train; set"):
        read(source)
    with pytest.raises(RowError, match=r"lacks files that its notes name: x/\*; fetch the whole data set"):
        read(source, "de/gone")
    assert capsys.readouterr().err == ""


def test_a_card_that_cannot_be_read_is_named_with_the_field(tmp_path: Path):
    source = write(tmp_path, "a.jsonl")
    (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(RowError, match=r"^seed_data.source: README.md: its head is not valid YAML"):
        read(source)


HUB = """---
configs:
- config_name: default
  data_files: [{split: train, path: data/a.jsonl}, {split: test, path: data/b.jsonl}]
---
"""


@pytest.mark.parametrize("place", ["data", "data/", "data/../data"])
def test_the_card_above_a_folder_tells_its_files_apart(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path, "data/a.jsonl", "data/b.jsonl", "data/c.jsonl", "raw/d.jsonl")
    (tmp_path / "README.md").write_text(HUB)
    monkeypatch.chdir(tmp_path)
    for source in (place, f"{tmp_path}/{place}", f"file://{tmp_path}/data"):
        assert read(source) == ["data/a.jsonl"]
        assert read(source, "test") == ["data/b.jsonl"]
        assert "c.jsonl (their names tell no split)" in capsys.readouterr().err
        with pytest.raises(RowError, match="has no split 'dev'; it has test, train"):
            read(source, "dev")
    assert read("raw") == ["raw/d.jsonl"]  # of which the card says nothing


def test_a_folder_whose_files_are_one_split_was_named_for_it(tmp_path: Path):
    source = write(tmp_path, "en/a.jsonl", "held/a.jsonl", "held/b.jsonl", "de/1/a.jsonl")
    (tmp_path / "README.md").write_text(CARD)
    assert read(f"{source}/held") == ["held/a.jsonl", "held/b.jsonl"]
    assert read(f"{source}/de/1") == ["de/1/a.jsonl"]


def test_a_configuration_by_the_card_above_is_named_where_the_folder_has_several(tmp_path: Path):
    source = write(tmp_path, "all/en/a.jsonl", "all/en/b.jsonl", "all/de/a.jsonl", "all/de/b.jsonl")
    configs = "".join(
        f"- {{config_name: {c}, data_files: {{train: all/{c}/a.jsonl, test: all/{c}/b.jsonl}}}}\n" for c in ("en", "de")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert read(f"{source}/all", "de/test") == ["all/de/b.jsonl"]
    with pytest.raises(RowError, match="has no split 'train'; it has de/test, de/train, en/test, en/train"):
        read(f"{source}/all")
    assert read(f"{source}/all/de") == ["all/de/a.jsonl"]


@pytest.mark.parametrize("head", ["---\nconfigs: []\n---\n", "# Notes\n", "---\nconfigs:\n- data_files: x/*\n---\n"])
def test_a_note_above_that_says_nothing_of_the_folder_changes_nothing(tmp_path: Path, head: str):
    source = write(tmp_path / "mine", "a.jsonl", "b.jsonl")
    (tmp_path / "README.md").write_text(head)
    assert read(source) == ["a.jsonl", "b.jsonl"]


def test_the_card_of_a_data_set_in_the_folder_is_heard(tmp_path: Path):
    source = write(tmp_path, "sets/mine/data/a.jsonl", "sets/mine/data/b.jsonl")
    (tmp_path / "sets/mine/README.md").write_text(HUB)
    assert read(source) == ["sets/mine/data/a.jsonl"]
    (row,) = read_user_rows(source, "test", "seed_data.source")
    assert row.where == f"{source}/sets/mine/data/b.jsonl:1"
    saved("train", 7).save_to_disk(tmp_path / "two/kept", num_shards=2)
    (tmp_path / "two/kept/cache-0123.arrow").write_bytes(b"ARROW1 of a program")
    assert len(read(f"{source}/two")) == 7


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("other.jsonl", r"holds data sets with splits of their own: mine, and other files \(other.jsonl\); give the f"),
        ("also/data/a.jsonl", "holds data sets with splits of their own: also, mine; give the folder of one of them"),
    ],
)
def test_a_data_set_beside_other_files_is_given_alone(tmp_path: Path, more: str, message: str):
    source = write(tmp_path, "mine/data/a.jsonl", "mine/data/b.jsonl", more)
    for place in {"mine", more.partition("/data")[0]} - {more}:
        (tmp_path / place / "README.md").write_text(HUB)
    with pytest.raises(RowError, match=f"^seed_data.source: folder {source} {message}"):
        read(source)


def test_another_card_above_makes_a_folder_another_input(tmp_path: Path):
    source = f"{write(tmp_path, 'data/a.jsonl', 'data/b.jsonl')}/data"
    plain = input_fingerprint(source)
    (tmp_path / "README.md").write_text("# Notes")
    assert input_fingerprint(source) == plain
    (tmp_path / "README.md").write_text(HUB)
    known = input_fingerprint(source)
    (tmp_path / "README.md").write_text(HUB.replace("split: test", "split: dev"))
    assert len({plain, known, input_fingerprint(source)}) == 3


def test_names_of_folders_are_columns_of_their_rows_and_a_row_s_own_value_stays(tmp_path: Path):
    write(tmp_path, "lang=en/date=2024-01-01/a.jsonl", "lang=de/b.jsonl", "lang=fr/c.csv")
    (tmp_path / "lang=de/b.jsonl").write_text('{"lang": null}\n{"lang": "at"}\nno row\n')
    found = list(read_user_rows(str(tmp_path), "train", "seed_data.source"))
    assert [row.fields for row in found if row.fault is None] == [
        {"lang": "de"},
        {"lang": "at"},
        {"name": "lang=en/date=2024-01-01/a.jsonl", "lang": "en", "date": "2024-01-01"},
        {"name": "lang=fr/c.csv", "lang": "fr"},
    ]


def test_a_value_in_the_name_of_a_folder_tells_no_split_but_a_split_does(tmp_path: Path):
    source = write(tmp_path, "source=test_bank/a.jsonl", "source=train_bank/b.jsonl")
    assert read(source) == ["source=test_bank/a.jsonl", "source=train_bank/b.jsonl"]
    source = write(tmp_path / "2", "source=x/split=train/a.jsonl", "split=test/source=train_bank/b.jsonl")
    assert read(source) == ["source=x/split=train/a.jsonl"]
    assert read(source, "test") == ["split=test/source=train_bank/b.jsonl"]


@pytest.mark.parametrize("check", [read, lambda source: has_files(source, "train", "seed_data.source")])
def test_a_missing_part_of_the_split_is_an_error_that_names_it(tmp_path: Path, check):
    names = [f"{split}-0000{n}-of-00003.jsonl" for split in ("train", "test") for n in range(3)]
    source = write(tmp_path, *(name for name in names if name not in (names[1], names[2], names[3])))
    with pytest.raises(RowError, match=rf"^seed_data.source: folder {source} lacks {names[1]}, {names[2]}: the names"):
        check(source)
    write(tmp_path, names[1], names[2])
    check(source)  # what another split lacks does not matter


@pytest.mark.parametrize("check", [read, lambda source: has_files(source, "train", "seed_data.source")])
def test_a_missing_file_of_what_the_library_saved_is_named(tmp_path: Path, check):
    source = str(tmp_path / "saved")
    saved("train").save_to_disk(source, num_shards=3)
    (tmp_path / "saved/data-00001-of-00003.arrow").unlink()
    with pytest.raises(RowError, match=r"lacks files that its notes name: data-00001-of-00003.arrow; fetch the whole"):
        check(source)


def test_a_missing_file_that_the_card_names_is_named(tmp_path: Path):
    source = write(tmp_path, "data/a.jsonl")
    (tmp_path / "README.md").write_text(HUB.replace("data/a.jsonl", "[data/a.jsonl, data/c.jsonl]"))
    with pytest.raises(RowError, match="lacks files that its notes name: data/c.jsonl; fetch the whole data set"):
        read(source)


def test_the_same_rows_in_two_forms_are_not_read_twice(tmp_path: Path):
    source = write(tmp_path, "train.jsonl", "train.csv", "test.jsonl")
    with pytest.raises(RowError, match=r"holds train.csv and train.jsonl, which seem to be the same rows in two forms"):
        read(source)
    assert read(source, "test") == ["test.jsonl"]


def test_an_empty_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write(tmp_path, "a.jsonl", "b.jsonl")
    (tmp_path / "b.jsonl").write_text("")
    assert read(source) == ["a.jsonl"]
    assert f"not read in {source}: b.jsonl (empty)" in capsys.readouterr().err


def test_a_pattern_is_no_source_and_the_folder_is_named(tmp_path: Path):
    write(tmp_path, "a.jsonl")
    with pytest.raises(
        RowError, match=r"\*.jsonl: there is no such file or folder; give the folder, of which all files"
    ):
        read(f"{tmp_path}/*.jsonl")


def saved(name: str, count: int = 3) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"name": f"{name} {n}"} for n in range(count)], split=datasets.Split(name))


def test_what_the_library_saves_is_read_in_its_order_and_without_its_caches(tmp_path: Path):
    source = str(tmp_path / "saved")
    saved("train", 7).save_to_disk(source, num_shards=3)
    (tmp_path / "saved" / "cache-0123.arrow").write_bytes(b"ARROW1 of a program")
    assert read(source) == [f"train {n}" for n in range(7)]
    with pytest.raises(RowError, match="has no split 'test'; it has train; set seed_data.split to one of them"):
        read(source, "test")


def test_of_saved_splits_the_one_is_read_that_is_asked_for(tmp_path: Path):
    source = str(tmp_path / "saved")
    datasets.DatasetDict(train_sft=saved("train_sft"), test_sft=saved("test_sft")).save_to_disk(source)
    assert read(source, "test_sft") == [f"test_sft {n}" for n in range(3)]
    assert read(f"{source}/test_sft", None) == [f"test_sft {n}" for n in range(3)]
    with pytest.raises(RowError, match="has no split 'train'; it has test_sft, train_sft"):
        read(source)
    with pytest.raises(RowError, match="has no split 'train'; it has test_sft; "):
        read(f"{source}/test_sft")


@pytest.mark.parametrize(("known", "name"), [("train[:50%]", "train"), (None, "train"), ("train+test", "train+test")])
def test_a_saved_part_of_a_split_has_the_splits_name(tmp_path: Path, known: str | None, name: str):
    saved("train").save_to_disk(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"_split": known}))
    assert read(str(tmp_path), name) == ["train 0", "train 1", "train 2"]


@pytest.mark.parametrize("content", ["[]", "{", None])
def test_notes_that_the_library_did_not_write_are_named(tmp_path: Path, content: str | None):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    if content is not None:
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "state.json").write_text(content)
    with pytest.raises(RowError, match=r"train/state.json is not what the datasets library saves; save the data set"):
        read(str(tmp_path))


def test_a_bucket_is_read_as_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, *(f"mine/{name}" for name in CLONE))
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (bucket, self.uri.removeprefix("s3://").rstrip("/")))
    assert read("s3://mine/") == [f"mine/{name}" for name in CLONE[:2]]
    assert [row.where for row in read_user_rows("s3://mine/", "test", "--prompts")] == [f"s3://mine/{CLONE[2]}:1"]


@pytest.mark.parametrize("name", ["data/deep/a.jsonl", "README.md", "b.tsv.zst", "c.arrow"])
def test_a_change_anywhere_in_a_folder_of_rows_makes_it_another_input(tmp_path: Path, name: str):
    source = write(tmp_path, "a.jsonl", "data/deep/a.jsonl", "README.md", "b.tsv.zst", "c.arrow", "notes.txt")
    known = input_fingerprint(source)
    (tmp_path / "notes.txt").write_text("another")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.jsonl").write_text("another")
    assert input_fingerprint(source) == known
    (tmp_path / name).write_text("another")
    assert input_fingerprint(source) != known


@pytest.fixture(autouse=True)
def _says_everything_again(monkeypatch: pytest.MonkeyPatch):
    user_files._say_once.cache_clear()
    monkeypatch.setenv("COLUMNS", "100")
