"""Files of inputs are read once; digests are kept in the user's cache, and nowhere else."""

import os
import shutil
import time
from pathlib import Path

import pytest
from pyarrow import fs

from selfreward_ray.store import identity
from selfreward_ray.store.identity import input_fingerprint

DAY_NS = 86_400 * 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    whole = identity.content_digest

    def counted(filesystem: fs.FileSystem, info: fs.FileInfo) -> str:
        names.append(info.base_name)
        return whole(filesystem, info)

    monkeypatch.setattr(identity, "content_digest", counted)
    return names


def write(path: Path, text: str, age_ns: int = DAY_NS) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    then = time.time_ns() - age_ns
    os.utime(path, ns=(then, then))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(tmp_path / "model" / "config.json", "{}")
    write(tmp_path / "model" / "model.safetensors", "weights")
    return tmp_path / "model"


def again(model: Path, read: list[str]) -> tuple[str, list[str]]:
    """The identity, and what was read for it."""
    read.clear()
    found = input_fingerprint(str(model))
    return found, sorted(read)


def test_a_second_command_reads_nothing_and_writes_nothing_into_the_folder(model: Path, cache: Path, read: list[str]):
    known, files = again(model, read)
    assert files == ["config.json", "model.safetensors"]
    assert again(model, read) == (known, [])
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "model.safetensors"]
    assert len(list((cache / "digests").iterdir())) == 1


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_of_another_size_or_time_is_read_again_and_no_other(model: Path, read: list[str], change: str):
    known, _ = again(model, read)
    before = (model / "model.safetensors").stat().st_mtime_ns
    text = "weighed!" if change == "size" else "WEIGHTS"
    (model / "model.safetensors").write_text(text)
    then = before if change == "size" else before + 1
    os.utime(model / "model.safetensors", ns=(then, then))
    changed, files = again(model, read)
    assert (changed != known, files) == (True, ["model.safetensors"])
    write(model / "chat_template.jinja", "{{ messages }}")
    other, files = again(model, read)
    assert (other not in (known, changed), files) == (True, ["chat_template.jinja"])


def test_a_folder_that_is_moved_is_the_same_model(model: Path, tmp_path: Path, read: list[str]):
    known, _ = again(model, read)
    shutil.move(model, tmp_path / "moved")
    assert again(tmp_path / "moved", read)[0] == known
    write(model / "config.json", "{}")
    write(model / "model.safetensors", "another")
    assert again(model, read)[0] != known


def test_a_file_that_was_just_written_is_read_again(model: Path, read: list[str]):
    """It may be written once more within the resolution of its time, in the same size."""
    write(model / "config.json", "{}", age_ns=0)
    known, _ = again(model, read)
    assert again(model, read) == (known, ["config.json"])
    write(model / "config.json", "[]", age_ns=0)
    assert again(model, read)[0] != known


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"a": 1}'])
def test_damaged_digests_are_made_again(model: Path, cache: Path, read: list[str], kept: str):
    known, _ = again(model, read)
    [file] = (cache / "digests").iterdir()
    file.write_text(kept)
    assert again(model, read) == (known, ["config.json", "model.safetensors"])
    assert again(model, read) == (known, [])


def test_without_a_place_for_the_digests_all_is_read(model: Path, cache: Path, read: list[str]):
    cache.write_text("a file")
    known, _ = again(model, read)
    assert again(model, read) == (known, ["config.json", "model.safetensors"])


def test_a_file_of_rows_is_read_once_too(tmp_path: Path, read: list[str]):
    write(tmp_path / "rows.jsonl", "{}")
    known, _ = again(tmp_path / "rows.jsonl", read)
    assert again(tmp_path / "rows.jsonl", read) == (known, [])
