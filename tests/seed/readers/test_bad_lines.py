"""Whoever reads rows of a file meets a line that is none: as a bad row where rows may be bad, otherwise as an error."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward_ray.evaluation.scores_file import read_scores
from selfreward_ray.prompts.answered import read_answered
from selfreward_ray.prompts.given import prompt_reading, read_prompts, read_questions
from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.store.user_files import Row, RowError, read_user_rows

CUT = "is the last line, and cut off"
ROWS = 'no row\n{"prompt": "q", "reply": "a", "rank": 0, "score": 1}\n{"prompt": "q", "re'
BAD = [Dropped("a.jsonl:1", "seed", "is not JSON"), Dropped("a.jsonl:3", "seed", CUT)]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Row]:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(ROWS)
    return read_user_rows("a.jsonl", None, "--prompts")


def test_prompts(rows: Iterator[Row]):
    found = list(read_prompts(rows, prompt_reading(RowReading(bad_share=1), "--prompts")))
    assert [item for item in found if isinstance(item, Dropped)] == BAD
    assert [item.turns for item in found if not isinstance(item, Dropped)] == [("q",)]


def test_replies(rows: Iterator[Row]):
    options = RowReading(bad_share=1, ignore=("rank", "score"), columns={"reply": "reply"})
    found = list(read_answered(rows, Reading.of_prompts(options)))
    assert [item for item in found if isinstance(item, Dropped)] == BAD
    assert [item.replies for item in found if not isinstance(item, Dropped)] == [("a",)]


def test_questions_are_a_benchmark_and_must_be_whole(rows: Iterator[Row]):
    with pytest.raises(RowError, match="^a.jsonl:1: is not JSON; correct the question, or remove it"):
        list(read_questions(rows, prompt_reading(RowReading(bad_share=1), "--questions")))


def test_scores_are_measured_whole_or_not_at_all(rows: Iterator[Row]):
    del rows
    with pytest.raises(RowError, match=re.escape("a.jsonl:1: is not JSON (Expecting value, column 1); write one JSON")):
        read_scores("a.jsonl")
    Path("a.jsonl").write_text(ROWS.removeprefix("no row\n"))
    with pytest.raises(RowError, match=rf"a.jsonl:2: {CUT}"):
        read_scores("a.jsonl")
