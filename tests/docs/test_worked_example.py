"""The commands of the worked example print what the manual shows, with the real model on two cores."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your-own-data.md"
MODELS = ROOT / "models"
EXACT = ("seed", "export seed")
"""Commands whose numbers are the same on every machine."""


def session() -> list[tuple[str, list[str]]]:
    """The commands of the page in order, each with the lines that it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


def alike(line: str, exact: bool) -> str:
    """What of a line is compared: without numbers, and without the columns behind the first, unless it is `exact`."""
    words = " ".join(line.split())
    return words if exact else re.sub(r"\d[\d.,–]*", "0", re.split(r"\s{2,}", line.strip())[0])


def pattern(line: str, exact: bool) -> re.Pattern[str]:
    """What matches a line as `alike` gives it; ``…`` stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in alike(line, exact).split("…")))


def test_lines_are_compared_without_numbers_and_further_columns():
    assert pattern("✓ M2 · pairs  9 pairs  …", False).fullmatch(
        alike("✓ M2 · pairs  3 pairs from 12 prompts  0 s", False)
    )
    assert not pattern("✓ M2 · pairs  …", False).fullmatch(alike("✓ M2 · prompts  3 prompts", False))
    assert pattern("… rows: a.jsonl", False).fullmatch(alike("12 rows: a.jsonl", False))
    assert pattern("left's win rate: …", False).fullmatch(
        alike("left's win rate: 50.0 (25.0–75.0) %, with ties", False)
    )
    assert not pattern("49 rows", True).fullmatch(alike("48 rows", True))


def test_the_page_has_a_session():
    assert [command.split()[1] for command, _ in session()] == [
        "init", "check", "seed", "export", "run", "report", "compare", "export",
    ]  # fmt: skip


def test_the_data_of_the_example_is_what_it_shows(tmp_path: Path):
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert shown in (ROOT / "docs" / "examples" / "plants.jsonl").read_text(encoding="utf-8")


def test_the_learning_rates_are_those_of_init():
    from selfreward_ray.starter.text import RATES

    rows = re.findall(r"^\| ([\d.]+ B|more .*?) \| (\S+) \| (\S+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = [
        (float(size.split()[0]) * 1e9 if size[0].isdigit() else float("inf"), *map(float, two)) for size, *two in rows
    ]
    assert shown == [tuple(row) for row in RATES]


@pytest.mark.cluster
def test_the_commands_of_the_example_print_what_it_shows(tmp_path: Path):
    assert (MODELS / "SmolLM2-135M-Instruct").is_dir(), "run `make models/SmolLM2-135M-Instruct/config.json` first"
    shutil.copy(ROOT / "docs" / "examples" / "plants.jsonl", tmp_path)
    (tmp_path / "models").symlink_to(MODELS)
    for command, shown in session():
        program, *arguments = shlex.split(command)
        assert program == "selfreward"
        done = subprocess.run(
            [sys.executable, "-m", "selfreward_ray", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout
        exact = command.removeprefix("selfreward ").startswith(EXACT)
        printed = iter([alike(line, exact) for line in done.stdout.splitlines()])
        for line in shown:
            wanted = pattern(line, exact)
            assert any(wanted.fullmatch(one) for one in printed), (
                f"{command}: no line {line!r}, or not at its place:\n{done.stdout}"
            )
