import pytest

from selfreward_ray.reporting.formatting import duration, number, percent, shortened, visible


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (40.6, "0:41"), (59.9, "1:00"), (725, "12:05"), (3599.6, "1:00:00"), (10931, "3:02:11")],
)
def test_duration_reads_like_a_stopwatch(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers() -> None:
    assert number(12345.678) == "12,346"
    assert number(0.2794, 3) == "0.279"
    assert number(None, 3) == "–"
    assert percent(0.6123) == "61.2"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tand\nline", "tab\tand\nline"),
        ("windows\r\nline", "windows\nline"),
        ("over\rwritten", "over␍written"),
        ("\x1b[2Jgone", "␛[2Jgone"),
        ("a\x00b\x7f", "a␀b␡"),
        ("\x9b31m", "\ufffd31m"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("naïve – 日本 🙂", "naïve – 日本 🙂"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_shortened_and_says_by_how_much():
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 1503, 3) == "aaa … (1,500 more characters)"
