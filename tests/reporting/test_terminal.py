from dataclasses import replace
from io import StringIO

import pytest
from reporting_examples import M1, RUN, SEED
from rich.console import Console

from selfreward_ray.reporting.summary import RunSummary
from selfreward_ray.reporting.terminal import print_counts, print_summary


def printed(run: RunSummary, width: int) -> str:
    out = StringIO()
    print_summary(run, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_no_figure_is_cut_or_folded(width: int) -> None:
    lines = [line.split() for line in printed(RUN, width).splitlines()]
    assert ["M0", "21.1", "(16.4–26.5)", "–", "–", "–", "–", "41", "256"] in lines
    assert ["M1", "38.7", "(32.9–44.8)", "61.2", "0.279", "4.1", "3,964", "1,058", "256"] in lines
    assert ["M2", "pair", "3,964", "0", "2", "–", "0"] in lines
    assert max(map(len, printed(RUN, width).splitlines())) <= width


def test_on_a_narrow_terminal_words_fold_and_figures_do_not() -> None:
    step = replace(
        SEED, step="respond and judge once more", tokens=19_123_456, dropped={"a reason of many words " * 3: 1}
    )
    assert "4,830  19,123,456    1,033  18,505" in printed(replace(RUN, steps=(step,)), 60)


def test_the_counts_of_a_step_are_those_of_its_results() -> None:
    out = StringIO()
    print_counts({"offered": 9, "rows": 1, "held_out": 1200}, {"too long": 8}, Console(file=out, width=80))
    assert [line.strip() for line in out.getvalue().splitlines()] == [
        "1 row",
        "1,200 in held_out",
        "8 dropped: too long",
    ]


def test_drop_reasons_are_printed_with_their_counts() -> None:
    text = printed(RUN, 120)
    assert "1,204 order disagrees" in text
    assert "88 unreadable" in text


def test_brackets_and_escapes_in_names_are_only_text() -> None:
    run = replace(RUN, models=(replace(M1, model="[red]M1"),), steps=(replace(SEED, dropped={"bad\x1b[2J": 1}),))
    text = printed(run, 120)
    assert "[red]M1" in text
    assert "1 bad␛[2J" in text
    assert "\x1b" not in text


def test_what_got_better_is_said_first() -> None:
    first, second, *_, last = [line.rstrip() for line in printed(RUN, 120).splitlines()]
    assert first == "M1 against M0"
    assert second == "  better  answers: The demo score of M1 is 17.6 percentage points higher."
    assert last == "M1 is better than M0 by demo score; as a judge: not measured; no alarm fired."
