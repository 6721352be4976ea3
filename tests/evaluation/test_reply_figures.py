"""Metrics of a model's own answers."""

import pytest

from selfreward_ray.evaluation.replies import ReplyFigures, is_repetitive, reply_figures
from selfreward_ray.records import EvaluatedReply


def reply(text: str = "yes", finished: bool = True, name: str = "p") -> EvaluatedReply:
    return EvaluatedReply(name, "Well?", text, finished)


def test_words_and_unfinished() -> None:
    figures = reply_figures([reply("one two three"), reply(""), reply("one\ntwo", finished=False), reply("one")], {})
    assert (figures.count, figures.mean_words, figures.unfinished, figures.repetitive) == (4, 1.5, 0.25, 0)
    assert (figures.score, figures.score_margin) == (None, None)


def test_the_score_with_its_margin() -> None:
    """40, 60, 80 and 100 %: mean 70, sample variance (900+100+100+900)/3 = 2000/3; 1.96 · sqrt(2000/3/4) = 25.303. The
    answer without a score is left out."""
    percents = {"p2": 40.0, "p3": 60.0, "p4": 80.0, "p5": 100.0}
    figures = reply_figures([reply(name=f"p{i}") for i in range(2, 7)], percents)
    assert figures.score == pytest.approx(70)
    assert figures.score_margin == pytest.approx(25.3034, abs=1e-4)


def test_distinct_runs_are_counted_over_all_answers() -> None:
    """Words: we go, We stay, go. 3 different of 5. Runs of two: "we go" and "we stay", none in the last answer."""
    figures = reply_figures([reply("we go"), reply("We stay"), reply("go")], {})
    assert (figures.distinct_1, figures.distinct_2) == (0.6, 1.0)
    assert reply_figures([reply("no no no")], {}).distinct_2 == 0.5
    assert reply_figures([reply("no")], {}).distinct_2 is None


def test_one_answer_has_no_interval() -> None:
    figures = reply_figures([reply()], {"p": 100.0})
    assert (figures.score, figures.score_margin) == (100, None)


def test_no_answers() -> None:
    assert reply_figures([], {}) == ReplyFigures(0, None, None, None, None, None, None, None)


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("", False),
        ("no no no no", False),
        ("no no no no no no", True),
        ("I am here. " * 4, True),
        ("I am here. " * 2 + "I", False),
        ("The sea is wide and the sky above it is wide too, but not so wide as the sea.", False),
    ],
)
def test_repetitive(text: str, repetitive: bool) -> None:
    assert is_repetitive(text) is repetitive
    assert reply_figures([reply(text)], {}).repetitive == repetitive
