"""Nothing that the command shows or writes has a secret: of arguments, of errors of libraries, of tracebacks."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from selfreward_ray.check.findings import Check, examine
from selfreward_ray.cli import main, running
from selfreward_ray.inference.block import run_row
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import dump_recipe
from selfreward_ray.records import Dropped
from selfreward_ray.reporting import progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.tracking.outlet import Outlet

SAID = "When listing objects of s3://AKIAX:geheim7@bucket/run: proxy http://me:geheim7@proxy:3128, hf_token='geheim7'"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "geheim7-of-the-hub")
    # A check that an earlier test has given up would let the command end this process.
    monkeypatch.setattr("selfreward_ray.check.findings.is_looking", lambda: False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, in which nothing with a secret may be left."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for path in tmp_path.rglob("*"):
        assert "geheim7" not in path.name
        assert path.is_dir() or b"geheim7" not in path.read_bytes(), path


def left(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status of a command and what it shows, which has no secret."""
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    shown = "".join(capsys.readouterr())
    assert "geheim7" not in shown
    return int(str(leaving.value.code)), shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "quickstart", "--run-dir", "s3://AKIAX:geheim7@bucket/run"],
        ["run", "quickstart", "--run-dir=s3://AKIAX:geheim7@bucket/run"],
        ["run", "s3://AKIAX:geheim7@bucket/recipe.yaml", "--run-dir", "run"],
        ["run", "quickstart", "--run-dir", "run", "model=s3://AKIAX:geheim7@bucket/m"],
        ["run", "quickstart", "--run-dir", "run", "inference.engine.hf_token=geheim7"],
        ["run", "quickstart", "--run-dir", "run", "inference.env.DB_PASSWORD=[geheim7"],
        ["run", "quickstart", "--run-dir", "run", "inference.env={DB_PASSWORD: geheim7}"],
        ["run", "quickstart", "--hf_token=geheim7"],
        ["check", "quickstart", "inference.env={A: https://me:geheim7@host}"],
        ["init", "--model", "s3://AKIAX:geheim7@bucket/m", "--data", "x.jsonl", "--machine", "1gpu"],
        ["init", "--model", "m", "--data", "https://host/x.jsonl?X-Amz-Signature=geheim7", "--machine", "1gpu"],
        ["judge", "quickstart", "--model", "https://geheim7@host/v1#m", "--prompts", "x", "--out", "y"],
        ["respond", "quickstart", "--prompts", "abfss://c@a.dfs.core.windows.net/p?sig=geheim7", "--out", "y"],
        ["export", "s3://AKIAX:geheim7@bucket/run/M2/pairs", "--out", "pairs.jsonl"],
        ["status", "s3://AKIAX:geheim7@bucket/run"],
        ["report", "--no-such-option=s3://AKIAX:geheim7@bucket/run"],
        ["no-such-command", "s3://AKIAX:geheim7@bucket/run"],
    ],
)
@pytest.mark.usefixtures("here")
def test_an_argument_with_a_secret_ends_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    status, shown = left(arguments, capsys)
    assert status == 2
    assert "holds a secret, which would stand in the run's files; set" in shown


@pytest.mark.parametrize("where", [["--where", "text~password=x"], ["--where=text~secret = yes"]])
def test_a_condition_of_rows_is_no_secret(where: list[str], here: Path, capsys: pytest.CaptureFixture[str]):
    status, shown = left(["rows", "nowhere", *where], capsys)
    assert status == 2
    assert "holds a secret" not in shown


@pytest.mark.usefixtures("here")
def test_a_recipes_file_with_secrets_ends_the_command(here: Path, capsys: pytest.CaptureFixture[str]):
    recipe = here / "recipe.yaml"
    recipe.write_text("model: s3://AKIAX:geheim7@bucket/m\ninference: {engine: {hf_token: geheim7}}\n")
    for command in (
        ["run", str(recipe), "--run-dir", "run"],
        ["check", str(recipe)],
        ["recipe", "--show", str(recipe)],
    ):
        status, shown = left(command, capsys)
        assert status == 2
        assert "recipe field 'model': s3://…@bucket/m holds a secret" in shown
        assert "recipe field 'inference.engine.hf_token': hf_token=… holds a secret" in shown
    recipe.unlink()


@pytest.mark.parametrize("fault", [OSError, RuntimeError, KeyError, FileNotFoundError])
def test_a_traceback_is_masked(fault: type[Exception], monkeypatch: Any, capsys: pytest.CaptureFixture[str]):
    def fail(*_: object, **__: object) -> None:
        try:
            raise ConnectionError(SAID)
        except ConnectionError as error:
            raise fault(f"{SAID} geheim7-of-the-hub") from error

    # The package's name `app` is the application, not its module.
    monkeypatch.setattr(sys.modules["selfreward_ray.cli.app"], "app", fail)
    status, shown = left(["status", "run"], capsys)
    assert status == 1
    assert "Traceback (most recent call last)" in shown
    assert "ConnectionError: When listing objects of s3://…@bucket/run: proxy http://…@proxy:3128, hf_token=…" in shown


def test_an_error_of_the_system_is_masked(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit), running.explained():
        raise PermissionError(13, SAID)
    assert "geheim7" not in (shown := capsys.readouterr().err)
    assert "s3://…@bucket/run" in shown


def test_lines_and_notes_are_masked():
    console = Console(record=True, width=400)
    progress.warn(SAID, console)
    with progress.Progress("M1 · sft", 1, "steps", console) as shown:
        shown.note(SAID)
        shown.say(SAID)
        shown.update(0)
        shown._say_again()
    assert "geheim7" not in (text := console.export_text())
    assert text.count("s3://…@bucket/run") >= 3


def test_findings_of_a_check_are_masked():
    def fail() -> None:
        raise OSError(SAID)

    def note() -> Iterator[str]:
        yield SAID

    assert "geheim7" not in str(examine([Check("storage", fail), Check("model", note)]))


def test_the_reason_of_a_dropped_row_is_masked():
    async def program(*_: object) -> None:
        raise RuntimeError(SAID)

    job: Any = SimpleNamespace(program=program, step="respond")
    dropped = asyncio.run(run_row(SimpleNamespace(id="M2/p0"), SimpleNamespace(), job))  # type: ignore[arg-type]
    assert isinstance(dropped, Dropped)
    assert dropped.reason.startswith("RuntimeError: When listing objects of s3://…@bucket/run")
    assert "geheim7" not in dropped.reason


def test_a_trackers_fault_is_masked(capsys: pytest.CaptureFixture[str]):
    class Fails:
        def flush(self) -> None:
            raise RuntimeError(SAID)

        def close(self) -> None:
            raise RuntimeError(SAID)

    outlet = Outlet("mine", Fails(), progress.warn)  # type: ignore[arg-type]
    outlet.close()
    assert "geheim7" not in (shown := capsys.readouterr().err)
    assert "the tracker mine failed" in shown


def test_what_is_taken_is_written_as_it_is(tmp_path: Path):
    recipe = Recipe.model_validate(
        {"model": "s3://bucket/m", "inference": {"env": {"TOKENIZERS_PARALLELISM": "false", "HF_TOKEN_PATH": "/etc/t"}}}
    )
    assert "TOKENIZERS_PARALLELISM: 'false'" in dump_recipe(recipe)
    # Rows are data, not messages: they are written as they are.
    Folder(str(tmp_path)).write_json("row.json", {"text": SAID})
    assert json.loads((tmp_path / "row.json").read_text()) == {"text": SAID}
