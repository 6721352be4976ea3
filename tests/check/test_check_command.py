"""`selfreward check` as a person sees it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward_ray.check.findings import Finding
from selfreward_ray.cli import app
from selfreward_ray.reporting.checked import print_checked


def written(folder: Path, model: Path) -> str:
    """A recipe in the demo world."""
    path = folder / "recipe.yaml"
    path.write_text(f"{{model: {model}, seed_data: {{source: demo}}, prompts: {{source: demo}}}}")
    return str(path)


def test_problems_and_notes_are_told_apart(capsys: pytest.CaptureFixture[str]):
    found = [Finding("seed data", "40 rows", False), Finding("model", "has [no] weights", True)]
    assert print_checked(found, 1.26) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["✓ seed data  40 rows", "✗ model      has [no] weights", "1 problem (1.3 s)"]
    assert print_checked(found[:1], 0.5) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no problem was found (0.5 s)"


def test_its_status_says_whether_there_is_a_problem(tmp_path: Path, tiny_model: Path):
    recipe = written(tmp_path, tiny_model)
    arguments = ["check", recipe, "sft.max_tokens=512", "dpo.max_tokens=512", "training.workers=1"]
    sound = CliRunner().invoke(app, arguments)
    assert (sound.exit_code, sound.stderr) == (0, "")
    assert "no problem was found" in sound.stdout
    faulty = CliRunner().invoke(app, [*arguments, "judge.rubric=mine"])
    assert (faulty.exit_code, faulty.stderr) == (2, "")
    assert "✗ recipe     unknown rubric 'mine'" in faulty.stdout


def test_it_imports_no_engine(tmp_path: Path, tiny_model: Path):
    """They would take longer than all checks."""
    script = """
import sys
import pytest
from typer.testing import CliRunner
from selfreward_ray.cli import app
CliRunner().invoke(app, sys.argv[1:])
print([name for name in ("torch", "vllm", "ray.data", "transformers", "scipy.stats") if name in sys.modules])
"""
    recipe = written(tmp_path, tiny_model)
    done = subprocess.run(
        [sys.executable, "-c", script, "check", recipe, "--run-dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_locale_without_its_signs_does_not_end_it(tmp_path: Path, tiny_model: Path):
    done = subprocess.run(
        [sys.executable, "-m", "selfreward_ray", "check", written(tmp_path, tiny_model), "judge.rubric=ü"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "? recipe     unknown rubric '?'" in done.stdout


def test_a_dead_storage_does_not_hold_the_process(tmp_path: Path, tiny_model: Path):
    """The server takes connections and says nothing; pyarrow would wait for it at the end of the process."""
    script = """
import os, socket, sys
from selfreward_ray.check import findings
from selfreward_ray.cli import main
hole = socket.create_server(("127.0.0.1", 0))
os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{hole.getsockname()[1]}"
findings.LIMIT_S = 2
main(sys.argv[1:])
"""
    recipe = written(tmp_path, tiny_model)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, "run", recipe, "--run-dir", "s3://bucket/run", "training.workers=1"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | keys | {"AWS_EC2_METADATA_DISABLED": "true"},
    )
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == 2
    assert "s3://bucket/run: the storage has not answered within" in said
