"""Which files are which split, by the names of files and by the head of README.md."""

from contextlib import suppress
from pathlib import Path

import pytest
from datasets.data_files import get_data_patterns, resolve_pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_ray.errors import UserError
from selfreward_ray.store.splits import splits_by_name, splits_of_card


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_prefs-00001-of-00002.parquet", "train_prefs"),
        ("data/test_gen-00000-of-00001-0a1b2c.parquet", "test_gen"),
        ("data/en.v2-00000-of-00001.parquet", "en.v2"),
        ("train_sft-00000-of-00001.parquet", "train_sft"),
        ("en/validation-00000-of-00001.parquet", "validation"),
        ("train.jsonl", "train"),
        ("questions-test.jsonl.gz", "test"),
        ("my_dev_set.csv", "validation"),
        ("eval2.tsv", "test"),
        ("evals/a.jsonl", "test"),
        ("tests/a.jsonl", "test"),
        ("development.csv", "validation"),
        ("split=train/source=test_bank/a.jsonl", "train"),
        ("source=test_bank/a.jsonl", None),
        ("Valid.json", "validation"),
        ("train/a.jsonl", "train"),
        ("test/train.jsonl", "test"),
        ("eval_sets/train/a.jsonl", "train"),
        ("default/test/0000.parquet", "test"),
        ("training/part-00000-of-00002.parquet", "train"),
        ("part-00000-of-00002.parquet", None),
        ("latest.jsonl", None),
        ("contest/a.jsonl", None),
        ("data/rows.jsonl", None),
        ("trainer.jsonl", None),
    ],
)
def test_a_name_tells_a_split_by_a_whole_word(name: str, split: str | None):
    found = splits_by_name([name])
    assert found.configs == {"": {} if split is None else {split: [name]}}
    assert list(found.apart) == ([name] if split is None else [])


def test_a_split_is_found_by_its_name_and_the_only_one_without():
    several = splits_by_name(["test.csv", "train/b.csv", "train/a.csv", "more.csv"])
    assert several.names() == ["test", "train"]
    assert several.files("train") == ["train/b.csv", "train/a.csv"]
    assert several.files("validation") is several.files(None) is several.files("en/train") is None
    assert several.apart == ["more.csv"]
    assert splits_by_name(["test.csv"]).files(None) == ["test.csv"]


FILES = [
    "data/en/train-00000-of-00001.parquet",
    "data/en/test-00000-of-00001.parquet",
    "data/de/train-00000-of-00001.parquet",
    "extra/a.jsonl",
    "extra/deep/b.jsonl",
]


def card(configs: str) -> str:
    return f"---\nlicense: mit\nconfigs:{configs}\n---\n# A data set\n---\nconfigs: no\n"


def test_the_head_of_the_card_names_configurations_and_their_splits():
    found = splits_of_card(
        card(
            """
- config_name: en
  data_files:
  - split: train
    path: data/en/train-*
  - split: test
    path: ["data/en/test-*", "data/no-*"]
- config_name: de
  data_files: ./data/de/*.parquet
- config_name: 2024
  data_dir: extra
- config_name: odd
  data_files: {held: extra/*.jsonl, all: "**/*.jsonl"}"""
        ),
        FILES,
    )
    assert found is not None
    assert found.configs == {
        "en": {"train": FILES[:1], "test": [FILES[1], "data/no-*"]},
        "de": {"train": FILES[2:3]},
        "2024": {"train": FILES[3:]},
        "odd": {"held": FILES[3:4], "all": FILES[3:]},
    }
    assert found.files("train") is None
    assert found.files("de/train") == FILES[2:3]
    assert found.names()[:3] == ["2024/train", "de/train", "en/test"]


@pytest.mark.parametrize(
    "configs", ["\n- {config_name: a, data_files: a/*}\n- {config_name: default, data_files: extra/*.jsonl}",
                "\n- {config_name: a, data_files: a/*}\n- {config_name: b, default: true, data_files: extra/*.jsonl}",
                "\n- {config_name: c, data_files: extra/*.jsonl}"],
)  # fmt: skip
def test_a_split_alone_is_that_of_the_default_configuration(configs: str):
    found = splits_of_card(card(configs), FILES)
    assert found is not None
    assert found.files("train") == ["extra/a.jsonl"]


def test_lines_of_the_card_may_end_as_on_windows():
    text = card("\n- {data_files: extra/*.jsonl}").replace("\n", "\r\n")
    found = splits_of_card(text, FILES)
    assert found is not None
    assert found.files("train") == ["extra/a.jsonl"]


def test_a_pattern_of_the_card_that_no_file_has_stands_for_itself():
    found = splits_of_card(card("\n- {data_files: [{split: train, path: 'data/*.csv'}]}"), FILES)
    assert found is not None
    assert found.files("train") == ["data/*.csv"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\r\nlicense: mit\r\n---\r\n",
        "# A data set\n",
        "---\nlicense: mit\n---\n",
        card(" []"),
        "---\na note on configs\n---\n",
        "---\nconfigs: x",
    ],
)
def test_a_card_without_configurations_tells_nothing(text: str):
    assert splits_of_card(text, FILES) is None


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ("\n- {config_name: [a]}", r"README.md: configs.0.config_name of its head cannot be read; correct it"),
        ("\n- {data_files: true}", r"README.md: configs.0.data_files of its head cannot be read"),
        (" {a: b}", r"README.md: configs of its head cannot be read"),
        (" [", r"README.md: its head is not valid YAML"),
    ],
)
def test_a_head_that_cannot_be_read_is_named(configs: str, message: str):
    with pytest.raises(UserError, match=message):
        splits_of_card(card(configs), FILES)


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("extra/*", ["extra/a.jsonl"]),
        ("extra/**", ["extra/a.jsonl", "extra/deep/b.jsonl"]),
        ("**/?.jsonl", ["extra/a.jsonl", "extra/deep/b.jsonl"]),
        ("extra/[!b].jsonl", ["extra/a.jsonl"]),
        ("extra/[ab].json*", ["extra/a.jsonl"]),
        ("extra/a.jsonl", ["extra/a.jsonl"]),
        ("extra/a?jsonl", ["extra/a.jsonl"]),
        ("a.jsonl", []),
        ("extra/a.", []),
        ("[", []),
    ],
)
def test_patterns_of_the_card(pattern: str, matching: list[str]):
    found = splits_of_card(card(f"\n- {{data_files: '{pattern}'}}"), FILES)
    assert found is not None
    assert found.files("train") == (matching or [pattern])


def by_the_hub(root: Path) -> dict[str, list[str]]:
    """The files of each split by the hub's own code."""
    found = {}
    for split, patterns in get_data_patterns(str(root)).items():
        paths: set[str] = set()
        for pattern in patterns:
            with suppress(FileNotFoundError):
                paths.update(resolve_pattern(pattern, str(root)))
        found[str(split)] = sorted(path.removeprefix(f"{root}/") for path in paths)
    return found


WORDS = st.sampled_from(["train", "test", "val", "part", "rows", "dev"])


@settings(max_examples=30)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5, unique=True))
def test_folders_of_plain_names_are_divided_as_the_hub_does(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
):
    """The hub's own rules on real files, where all names tell a split or none does."""
    files = [f"{folder}/{word}.jsonl" for folder, word in names]
    ours = splits_by_name(files)
    if ours.apart and ours.names():
        return
    root = tmp_path_factory.mktemp("hub")
    for file in files:
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text("{}\n")
    told = {folder for folder, _ in names} & {"train", "test", "val", "dev"}
    if ours.names() and len(told) not in (0, len({folder for folder, _ in names})):
        return  # the hub then reads the folders that tell a split, and leaves out the others
    assert {split: sorted(found) for split, found in (ours.configs[""] or {"train": files}).items()} == by_the_hub(root)
