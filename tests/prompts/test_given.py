"""Prompts and questions of users' files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfreward_ray.prompts.given import read_prompts, read_questions
from selfreward_ray.records import Prompt, Question
from selfreward_ray.store.user_files import RowError

MT_BENCH = [
    {"question_id": 81, "category": "writing", "turns": ["Write a poem.", "Now in A."]},
    {"question_id": 111, "category": "math", "turns": ["1 + 1?", "And 1?"], "reference": ["2", "3"]},
]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(*rows: Any, name: str = "rows.jsonl") -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


def test_prompts_are_read_from_the_fields_of_both_files_with_ids_by_place(file: Callable[..., str]):
    source = file({"prompt": "Why?", "source": "mine"}, {"instruction": "How?", "output": "So."}, {"turns": ["Who?"]})
    assert list(read_prompts(source, "--prompts")) == [
        Prompt("given/p000000", "Why?"),
        Prompt("given/p000001", "How?"),
        Prompt("given/p000002", "Who?"),
    ]


def test_the_array_of_alpaca_eval_is_read_as_it_is(tmp_path: Path):
    rows = [{"dataset": "a", "instruction": f"{n}?\u2028", "output": "x", "generator": "g"} for n in range(2)]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(rows, indent=4))
    found = [prompt.text for prompt in read_prompts(str(tmp_path / "alpaca_eval.json"), "--prompts")]
    assert found == ["0?\u2028", "1?\u2028"]


def test_questions_keep_their_turns_and_ids(file: Callable[..., str]):
    source = file(*MT_BENCH, {"question_id": "81", "turns": ["Why?"]}, {"prompt": "How?"})
    assert list(read_questions(source, "--questions")) == [
        Question("given/p000000", ("Write a poem.", "Now in A."), "81"),
        Question("given/p000001", ("1 + 1?", "And 1?"), "111"),
        Question("given/p000002", ("Why?",), '"81"'),
        Question("given/p000003", ("How?",), None),
    ]


def test_questions_are_read_from_parquet(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([{"reference": None} | row for row in MT_BENCH]), tmp_path / "q.parquet")
    assert [q.question_id for q in read_questions(str(tmp_path / "q.parquet"), "--questions")] == ["81", "111"]


def test_a_question_of_several_turns_is_no_prompt(file: Callable[..., str]):
    with pytest.raises(
        RowError, match=r"rows.jsonl:1: has 2 turns, which the answer step asks one after the other: selfreward answer"
    ):
        list(read_prompts(file(*MT_BENCH), "--prompts"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "the row: give one of the fields 'prompt', 'instruction' (texts) and 'turns'"),
        ({"prompt": "a", "turns": ["b"]}, "the row: give one of the fields"),
        ({"prompt": " "}, "field 'prompt': is empty"),
        ({"prompt": ["a"]}, "field 'prompt': must be a text"),
        ({"turns": []}, "field 'turns': must not be empty"),
        ({"turns": ["a", 5]}, "field 'turns.1': must be a text"),
        ({"prompt": "a", "question_id": 1.5}, "field 'question_id': must be a whole number or a text (got 1.5)"),
        ({"prompt": "a", "question_id": True}, "field 'question_id': must be a whole number or a text"),
        ({"prompt": "a", "question_id": ""}, "field 'question_id': must be a whole number or a text"),
        ({"instruction": "a", "input": "b"}, "the row: the model is not shown the field 'input'; write it into"),
        (MT_BENCH[0], "question_id 81 stands in "),
    ],
)
def test_a_row_that_is_no_question_is_named(file: Callable[..., str], row: dict[str, Any], message: str):
    with pytest.raises(RowError) as error:
        list(read_questions(file(MT_BENCH[0], row), "--questions"))
    assert f"rows.jsonl:2: {message}" in str(error.value)


def test_an_empty_input_is_no_fault(file: Callable[..., str]):
    assert [p.text for p in read_prompts(file({"instruction": "a", "input": ""}), "--prompts")] == ["a"]


def test_a_file_without_rows_is_named(file: Callable[..., str]):
    with pytest.raises(RowError, match=r"--questions: .*rows.jsonl holds no rows; write one JSON object a line"):
        list(read_questions(file(), "--questions"))
