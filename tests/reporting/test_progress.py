from io import StringIO

import pytest
from rich.console import Console

from selfreward_ray.reporting import progress as progress_module
from selfreward_ray.reporting.progress import Progress, skipped

LABEL = "M2 · respond and judge"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> Console:
    """A narrow console that is no terminal."""
    return Console(file=StringIO(), width=40)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_a_log_gets_plain_lines_and_a_last_one(log: Console, clock: Clock) -> None:
    with Progress(LABEL, total=128, unit="prompts", console=log, clock=clock) as progress:
        progress.note("starting engine")
        clock.now += 41
        progress.note("")
        progress.update(done=57, tokens=25_092)
        clock.now += 51
        progress.update(done=128, tokens=55_292)
    assert lines(log) == [
        "M2 · respond and judge  0/128 prompts  0:00 elapsed  starting engine",
        "M2 · respond and judge  0/128 prompts  0:41 elapsed",
        "M2 · respond and judge  128/128 prompts  1,084 tok/s  1:32 elapsed",
        "✓ M2 · respond and judge  128 prompts  92 s  1,084 tok/s",
    ]


def test_speed_and_time_left(log: Console, clock: Clock) -> None:
    """Four prompts were done before, four more come after half a minute of starting, and then 49 in 20 seconds: the
    other 71 will take 29."""
    with Progress(LABEL, total=128, unit="prompts", console=log, clock=clock) as progress:
        progress.update(done=4)
        progress.note("starting the engine")
        progress.update(done=4)
        clock.now += 31
        progress.note("")
        progress.update(done=8, tokens=3_000)
        clock.now += 20
        progress.update(done=57, tokens=25_092)
    assert lines(log)[1:3] == [
        "M2 · respond and judge  4/128 prompts  0:31 elapsed",
        "M2 · respond and judge  57/128 prompts  1,255 tok/s  0:51 elapsed, about 0:29 left",
    ]


def test_time_left_after_a_start_from_a_checkpoint(log: Console, clock: Clock) -> None:
    """Twelve steps in 24 seconds, then back to ten: the time that this took is no part of the pace."""
    with Progress("M1 · SFT", total=20, unit="steps", console=log, clock=clock) as progress:
        for seconds, done in ((0, 0), (24, 12), (90, 10), (11, 15)):
            clock.now += seconds
            progress.update(done)
    assert [line.partition("elapsed")[2] for line in lines(log)[:4]] == [
        "",
        ", about 0:16 left",
        "",
        ", about 0:11 left",
    ]


def test_no_time_left_is_told_while_something_else_goes_on(log: Console, clock: Clock) -> None:
    with Progress("M1 · SFT", total=20, unit="steps", console=log, clock=clock) as progress:
        progress.update(0)
        clock.now += 24
        progress.update(12)
        clock.now += 24
        progress.note("writing a checkpoint")
    assert [line.partition("elapsed")[2] for line in lines(log)[1:3]] == [
        ", about 0:16 left",
        "  writing a checkpoint",
    ]


def test_at_most_one_line_in_ten_seconds(log: Console, clock: Clock) -> None:
    with Progress(LABEL, total=100, unit="rows", console=log, clock=clock) as progress:
        for second in range(30):
            progress.update(done=second)
            clock.now += 1
    assert [line.split("  ")[1] for line in lines(log)] == ["0/100 rows", "10/100 rows", "20/100 rows", "29/100 rows"]


def test_fewer_rows_than_announced_are_not_called_all(log: Console, clock: Clock) -> None:
    with Progress("M2 · pair", total=5000, unit="prompts", console=log, clock=clock) as progress:
        progress.update(done=3964)
    assert lines(log)[-1] == "✓ M2 · pair  3,964/5,000 prompts  0 s"


@pytest.mark.parametrize(("raised", "said"), [(RuntimeError, "RuntimeError"), (KeyboardInterrupt, "interrupted")])
def test_an_exception_leaves_a_cross_and_goes_on(
    log: Console, clock: Clock, raised: type[BaseException], said: str
) -> None:
    def fail() -> None:
        with Progress(LABEL, total=128, unit="prompts", console=log, clock=clock) as progress:
            clock.now += 7
            progress.update(done=57)
            raise raised("engine died")

    with pytest.raises(raised, match="engine died"):
        fail()
    assert lines(log)[-1] == f"✗ M2 · respond and judge  57/128 prompts  7 s  {said}"


def test_a_terminal_gets_a_bar_that_gives_way_to_the_last_line(clock: Clock) -> None:
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=True, force_interactive=True, color_system=None)
    with Progress(LABEL, total=128, unit="prompts", console=console, clock=clock) as progress:
        progress.update(done=17)
        clock.now += 41
        progress.update(done=57, tokens=25_092)
        progress._live.refresh()
        shown = out.getvalue()
        clock.now += 51
        progress.update(done=128, tokens=55_292)
    assert LABEL + "  ━━━━" in shown
    assert "57/128 prompts  612 tok/s  0:41 elapsed, about 1:13 left" in shown
    assert f"{LABEL}  57/128" not in out.getvalue()
    after_the_bar = out.getvalue().rpartition("\x1b[2K")[2]
    assert after_the_bar.strip() == "✓ M2 · respond and judge  128 prompts  92 s  601 tok/s"


def test_nothing_to_do_is_done(log: Console, clock: Clock) -> None:
    with Progress(LABEL, total=0, unit="prompts", console=log, clock=clock) as progress:
        progress.update(done=0)
    assert lines(log)[-1] == "✓ M2 · respond and judge  0 prompts  0 s"


def test_brackets_and_escapes_are_only_text(log: Console, clock: Clock) -> None:
    with Progress("[red]M2\x1b[2J", total=1, unit="rows", console=log, clock=clock) as progress:
        progress.note("[bold]\x07")
    assert lines(log)[0] == "[red]M2␛[2J  0/1 rows  0:00 elapsed  [bold]␇"


def test_skipped(log: Console) -> None:
    skipped(LABEL, console=log)
    assert lines(log) == ["· M2 · respond and judge  already done"]


def test_loss_and_accuracy_are_shown(log: Console, clock: Clock) -> None:
    with Progress("M2 · DPO", total=2, unit="steps", console=log, clock=clock) as progress:
        progress.record({"loss": 0.69315, "gradient_norm": 3.0}, at=1)
        progress.update(done=1)
        clock.now += 11
        progress.record({"loss": 0.5, "accuracy": 0.625}, at=2)
        progress.update(done=2)
    assert lines(log) == [
        "M2 · DPO  1/2 steps  loss 0.693  0:00 elapsed",
        "M2 · DPO  2/2 steps  loss 0.500  accuracy 62.5 %  0:11 elapsed",
        "✓ M2 · DPO  2 steps  11 s  loss 0.500  accuracy 62.5 %",
    ]


def test_recorders_are_given_the_metrics(log: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    monkeypatch.setattr(progress_module, "recorders", [lambda *given: found.append(given)])
    with Progress("M2 · DPO", total=2, unit="steps", console=log) as progress:
        progress.record({"mean_score": 3.5}, at=1)
    assert found == [("M2 · DPO", {"mean_score": 3.5}, 1)]


def test_the_time_until_work_begins(log: Console, clock: Clock) -> None:
    with Progress("M2 · DPO", total=2, unit="steps", console=log, clock=clock) as progress:
        progress.note("starting workers")
        clock.now += 25
        progress.update(done=0)
        assert progress.start_seconds is None
        progress.note("")
        progress.update(done=0)
        clock.now += 5
        progress.note("writing the model")
        progress.note("")
        progress.update(done=2)
        assert progress.start_seconds == 25
