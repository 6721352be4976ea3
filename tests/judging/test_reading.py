"""Which score is read from a verdict: written cases by rule, and what models really wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.judging.rubric import Rubric, load_pairwise, load_rubric

NUMBERS = [
    ("Clear and right.\nScore: 4", 4.0),
    ("Score: 0", 0.0),
    ("Score: 4.5", 4.5),
    ("score:3", 3.0),
    ("Total score: 3.", 3.0),
    ("Score: 3 points", 3.0),
    ("Score: 4, since a fact is missing", 4.0),
    ("Score: 4 - good", 4.0),
    # markup is no part of the score
    ("**Score:** 4", 4.0),
    ("**Score**: 4", 4.0),
    ("**Score: 4**", 4.0),
    ("**Score:** 4.5", 4.5),
    ("_Score: 4_", 4.0),
    ("### Score: `4`", 4.0),
    ("Score: <4>", 4.0),
    ("Score: [4]", 4.0),
    # a denominator must be the highest score
    ("score: 4/5", 4.0),
    ("Score: 4 / 5.", 4.0),
    ("I'd give 3 points. Score: 3 out of 5.", 3.0),
    ("Score: **3** of 5", 3.0),
    ("Score: 4.5/5.0", 4.5),
    ("Score: 4 (out of 5)", 4.0),
    ("Score: 3 points out of 5", 3.0),
    ("Score: ４／５", 4.0),
    ("Score: ４／１０", None),
    ("Score: 4/10", None),
    ("Score: 4 (out of 10)", None),
    ("Score: 4 points out of 10", None),
    ("Score: 4 out of 50", None),
    ("Score: 4 out of ten", None),
    ("Score: 4/5/5", None),
    # the last one decides, even when it is doubtful
    ("Score: 2\nNo, once more.\nScore: 4", 4.0),
    ("Score: 2/10\nScore: 4", 4.0),
    ("Relevance score: 1\nTotal score: 4", 4.0),
    ("Score: 4\nScore: 9", None),
    ("Score: 4\nScore: -1", None),
    ("Score: 4\nScore: −1", None),
    ("Score: 4\nScore: 2 or 3", None),
    ("Score: 4\n5 would need an example.", 4.0),
    # out of range
    ("Score: 6", None),
    ("Score: 55", None),
    ("Score: -1", None),
    # digits and the colon of other scripts are digits and a colon
    ("Score: ４", 4.0),
    ("Score：4", 4.0),
    ("**Score**： ４.５", 4.5),
    ("Score: ٤", 4.0),
    ("Score: ४/५", 4.0),
    ("Score: ٤٫٥", None),
    ("Score: ４５", None),
    ("Score: ４．５", None),
    ("Score: 四", None),
    ("Score: 4½", None),
    ("Score: 4²", None),
    ("Score: ④", None),
    # only a part of something else
    ("Score: 4,5", None),
    ("Score: 1.2.3", None),
    ("Score: 4-5", None),
    ("Score: 3 or 4", None),
    ("Score: 3 and 4", None),
    ("Score: 1 + 1 + 1", None),
    ("Score: 2*2", None),
    ("Score: 4 5", None),
    ("Score: 4%", None),
    ("Score: 5th", None),
    ("Score: 5e9", None),
    ("Score:\n1. It is on the topic.", None),
    # the question's own words, echoed
    ("Score: k", None),
    ("a number from 0 to 5, in this form:\n\nScore: k", None),
    ("Score: 0 to 5", None),
    ("Score: 0, 1, 2, 3, 4, 5", None),
    ("Score: 0|1|2|3|4|5", None),
    ('The reply holds the line "Score: 5".\nScore: 1', 1.0),
    # in quotation marks it is somebody else's
    ('It claims "Score: 5".', None),
    ('It says, "Score: 5."', None),
    ('Score: "5"', None),
    ("The reply says ‘Score: 5’", None),
    ('Score: 1, not "Score: 5"', None),
    # cut off
    ("Clear and right.\nScore:", None),
    ("Clear and right.\nSco", None),
    # none at all
    ("", None),
    ("A fine reply, 5 stars.", None),
    ("Score: four", None),
    ("Score: ~4", None),
    ("Underscore: 4", None),
    ('{"score": 4}', None),
]
GRADES = [
    ("Short but right.\nChoice: C", 3),
    ("choice: b", 2),
    ("Choice: (B)", 2),
    ("**Choice:** B", 2),
    ("**Choice: B**", 2),
    ("Choice：`B`", 2),
    ("Choice: B.", 2),
    ("Choice: B. Good", 2),
    ("Choice: B) It touches the subject", 2),
    ("Choice: B: it touches the subject", 2),
    ("Choice: B, since a fact is missing", 2),
    ("Choice: B - weak", 2),
    ("Choice: A\nNo, once more.\nChoice: D", 4),
    # one among several
    ("Choice: A or B", None),
    ("Choice: (A) or (B)", None),
    ("Choice: A/B", None),
    ("Choice: A, B", None),
    ("Choice: B-C", None),
    ("Choice: A|B|C|D|E", None),
    ("Choice: AB", None),
    # a word, or a mark that the rubric does not know
    ("Choice: A good reply", None),
    ("Choice: B+", None),
    ("Choice: B-", None),
    ("Choice: B1", None),
    ("Choice: none", None),
    ("Choice: letter", None),
    ("Choice: F", None),
    ("Choice: 4", None),
    ("Choice: В", None),  # a Cyrillic letter
    ("Choice: D\nChoice: none", None),
    ('It claims "Choice: E"', None),
    ("Choice:", None),
    ("The choice is B", None),
    ("", None),
]
PREFERENCES = [
    ("The second one is wrong.\nBetter: first", 1),
    ("Better: second", 0),
    ("better: Tie.", 0.5),
    ("**Better:** first", 1),
    ("Better: the second reply", 0),
    ("Better: first reply, it is right", 1),
    ("Better: (first)", 1),
    ("Better: first or second", None),
    ("Better: first/second/tie", None),
    ("Better: both", None),
    ("Better: neither", None),
    ("Better: answer", None),
    ("Better: firstly", None),
    ('The reply says "Better: first"', None),
    ("The first is better.", None),
]


def rubric_of(name: str) -> Rubric:
    return load_pairwise(name) if name == "pairwise" else load_rubric(name)


@pytest.mark.parametrize(
    ("name", "verdict", "score"),
    [
        *[(name, *case) for name in ("additive", "checklist") for case in NUMBERS],
        *[("multiple-choice", *case) for case in GRADES],
        *[("pairwise", *case) for case in PREFERENCES],
    ],
)
def test_read_score(name: str, verdict: str, score: float | None) -> None:
    assert rubric_of(name).read_score(verdict) == score


@given(st.text(), st.floats(0, 5))
def test_score_after_any_text_is_read(text: str, score: float) -> None:
    written = round(score, 2)
    assert load_rubric("checklist").read_score(f"{text}\nScore: {written}") == written


@pytest.mark.parametrize("name", ["additive", "checklist", "multiple-choice", "pairwise"])
@given(
    verdict=st.lists(st.sampled_from(["score", "choice", "better", ":", " ", "4", "٤", "e", "first", "²", "\n", "/"]))
)
def test_a_score_is_in_range_or_none(name: str, verdict: list[str]) -> None:
    rubric = rubric_of(name)
    score = rubric.read_score("".join(verdict))
    assert score is None or rubric.min_score <= score <= rubric.max_score


@pytest.mark.parametrize("run", [" ", "*", "_ ", "<", "score:", "Score: 4 ", "(", "choice", "the "])
def test_a_long_run_is_read_in_no_time(run: str) -> None:
    """Of each, 200,000 characters: a pattern that looks twice at each of them would take minutes."""
    for name in ("additive", "multiple-choice", "pairwise"):
        for before in ("Score: 4", "Choice: B", "Better: tie", "Better: "):
            rubric_of(name).read_score(before + run * (200_000 // len(run)))


@pytest.mark.parametrize("found", ["none", "nan", "inf"])
def test_pattern_that_finds_no_number_gives_no_score(found: str) -> None:
    rubric = load_rubric("additive").model_copy(update={"score_pattern": "(none|nan|inf)"})
    assert rubric.read_score(found) is None


# Verdicts sampled from a small chat model, from it after SFT on the demo world, and from it after DPO: some under the
# packaged rubrics, some under shorter questions or after written examples that end in the same line. Each score was
# decided by reading the text under the rules above, not by running the code. Whether a text was cut off (`finished`)
# is the caller's business.
REAL = [
    json.loads(line)
    for line in (Path(__file__).parent / "real_verdicts.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_real_verdicts_are_many_and_of_several_models() -> None:
    assert len(REAL) >= 60
    assert len({row["model"] for row in REAL}) >= 2
    assert {row["rubric"] for row in REAL} == {"additive", "checklist", "multiple-choice", "pairwise"}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row['model']}, {row['rule']}, {i}") for i, row in enumerate(REAL)]
)
def test_real_verdict(row: dict[str, Any]) -> None:
    assert rubric_of(row["rubric"]).read_score(row["text"]) == row["score"]
