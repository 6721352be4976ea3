"""Lines that a log gets while the code at work says nothing; ten seconds are a twentieth of one here."""

import time
from io import StringIO

import pytest
from rich.console import Console

from selfreward_ray.reporting import silence
from selfreward_ray.reporting.progress import Progress, warn
from selfreward_ray.reporting.silence import doing, waiting


@pytest.fixture(autouse=True)
def seconds_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SECONDS_BETWEEN_LINES", 0.05)
    monkeypatch.setattr(silence, "_SECONDS_BETWEEN_LOOKS", 0.005)


@pytest.fixture
def log() -> Console:
    return Console(file=StringIO(), width=40)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def wait_for(console: Console, count: int) -> None:
    end = time.monotonic() + 10
    while len(lines(console)) < count and time.monotonic() < end:
        time.sleep(0.01)


def test_the_line_of_a_step_that_reports_nothing_is_repeated(log: Console):
    with Progress("M2 · pairs", total=8, unit="prompts", console=log) as progress:
        progress.note("looking for replies that many prompts share")
        wait_for(log, 3)
    *during, last = lines(log)
    assert len(during) >= 3
    assert {line.split("  ")[-1] for line in during} == {"looking for replies that many prompts share"}
    assert last.startswith("✓ M2 · pairs")


def test_the_innermost_is_said_and_then_the_outer_one_again(log: Console):
    with doing("M2 · DPO: preparing", log):
        with Progress("M2 · DPO", total=8, unit="steps", console=log):
            wait_for(log, 1)
        inner = len(lines(log))
        wait_for(log, inner + 1)
    assert lines(log)[0].startswith("M2 · DPO  0/8 steps  0:")
    assert lines(log)[inner:][0].startswith("M2 · DPO: preparing  0:")


def test_a_wait_of_another_thread_is_said_beside_the_line_of_the_step(log: Console, capsys: pytest.CaptureFixture[str]):
    with waiting("bucket/run: waiting for the storage to answer"), doing("M2 · pairs", log):
        wait_for(log, 2)
    assert lines(log)[0].startswith("M2 · pairs  0:")
    assert "bucket/run: waiting for the storage to answer  0:00 elapsed" in capsys.readouterr().err


def test_nothing_is_said_after_the_end_nor_while_others_speak(log: Console, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(silence, "SECONDS_BETWEEN_LINES", 1)  # longer than a busy machine stands still
    with doing("starting Ray", log):
        for _ in range(12):
            warn("a line of something else", log)
            time.sleep(0.1)
    time.sleep(1.1)
    assert set(lines(log)) == {"a line of something else"}


def test_a_terminal_with_a_bar_gets_no_lines():
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=True, force_interactive=True, color_system=None)
    with Progress("M2 · DPO", total=8, unit="steps", console=console):
        time.sleep(0.2)
        shown = out.getvalue()
    assert "M2 · DPO  0/8" not in shown
