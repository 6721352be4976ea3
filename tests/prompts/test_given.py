"""Prompts and questions of users' files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfreward_ray.prompts.given import GivenPrompt, prompt_reading, read_prompts, read_questions
from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, Question, Turn
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.store.user_files import Row, RowError, read_user_rows

MT_BENCH = [
    {"question_id": 81, "category": "writing", "turns": ["Write a poem.", "Now in A."]},
    {"question_id": 111, "category": "math", "turns": ["1 + 1?", "And 1?"], "reference": ["2", "3"]},
]


def rows(*given: dict[str, Any]) -> Iterator[Row]:
    return (Row(f"a.jsonl:{n}", fields) for n, fields in enumerate(given, start=1))


def reading(**options: Any) -> Reading:
    return prompt_reading(RowReading(**options), "--prompts")


def prompts(*given: dict[str, Any], **options: Any) -> list[GivenPrompt | Dropped]:
    return list(read_prompts(rows(*given), reading(**options)))


def questions(*given: dict[str, Any]) -> list[Question]:
    return list(read_questions(rows(*given), reading(bad_rows="stop")))


SYSTEM = Turn("system", "Be brief.")
TURNS = (Turn("user", "Hi."), Turn("assistant", "Hello."))


@pytest.mark.parametrize(
    ("row", "history", "text"),
    [
        ({"prompt": "Why?", "source": "mine"}, (), "Why?"),
        ({"instruction": "Why?", "output": "So.", "generator": "g", "dataset": "a"}, (), "Why?"),
        ({"instruction": "Add.", "input": "1, 2"}, (), "Add.\n\n1, 2"),
        ({"turns": ["Why?"], "question_id": 7, "category": "writing"}, (), "Why?"),
        ({"system": "Be brief.", "prompt": "Why?"}, (SYSTEM,), "Why?"),
        ({"system": "Be brief.", "history": [["Hi.", "Hello."]], "prompt": "Why?"}, (SYSTEM, *TURNS), "Why?"),
        (
            {"messages": [{"role": t.role, "content": t.text} for t in (SYSTEM, *TURNS, Turn("user", "Why?"))]},
            (SYSTEM, *TURNS),
            "Why?",
        ),
        (
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
            (),
            "Why?",
        ),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, (), "Why?"),
    ],
)
def test_a_prompt_is_read_in_every_form_with_what_stands_before_it(
    row: dict[str, Any], history: tuple[Turn, ...], text: str
):
    (found,) = prompts(row)
    assert isinstance(found, GivenPrompt)
    assert (found.where, found.history, found.turns) == ("a.jsonl:1", history, (text,))


def test_the_array_of_alpaca_eval_is_read_as_it_is(tmp_path: Path):
    given = [{"dataset": "a", "instruction": f"{n}?\u2028", "output": "x", "generator": "g"} for n in range(2)]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(given, indent=4))
    found = read_prompts(read_user_rows(str(tmp_path / "alpaca_eval.json"), None, "--prompts"), reading())
    assert [one.turns for one in found if isinstance(one, GivenPrompt)] == [("0?\u2028",), ("1?\u2028",)]


def test_questions_keep_their_turns_and_ids():
    found = questions(*MT_BENCH, {"question_id": "81", "turns": ["Why?"]}, {"turns": ["How?"]})
    assert found == [
        Question("given/p000000", ("Write a poem.", "Now in A."), "81"),
        Question("given/p000001", ("1 + 1?", "And 1?"), "111"),
        Question("given/p000002", ("Why?",), '"81"'),
        Question("given/p000003", ("How?",), None),
    ]


def test_a_question_may_be_any_prompt_with_its_own_id_and_what_stands_before_it():
    assert questions({"question_id": 3, "system": "Be brief.", "prompt": "How?"}) == [
        Question("given/p000000", ("How?",), "3", (SYSTEM,))
    ]


def test_questions_are_read_from_parquet(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([{"reference": None} | row for row in MT_BENCH]), tmp_path / "q.parquet")
    found = read_questions(read_user_rows(str(tmp_path / "q.parquet"), None, "--questions"), reading())
    assert [q.question_id for q in found] == ["81", "111"]


def test_the_turns_of_a_question_and_its_columns_are_nothing_unknown():
    by = reading()
    assert len(list(read_prompts(rows(*MT_BENCH), by))) == 2
    assert by.notes() == []


BAD = [
    ({"prompt": None}, "null"),
    ({"prompt": " "}, "is empty"),
    ({"prompt": "\ud800"}, "lone surrogate"),
    ({"turns": []}, "null"),
    ({"turns": [5]}, "field 'prompt'"),
    ({"turns": [" ", "b"]}, "is empty"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_row_that_cannot_be_used_is_dropped_with_its_place_and_reason(row: dict[str, Any], reason: str):
    first, bad, last = prompts({"prompt": "Why?"}, row, {"prompt": "How?"}, bad_share=1)
    assert isinstance(bad, Dropped)
    assert bad.id == "a.jsonl:2"
    assert reason in bad.reason
    assert isinstance(first, GivenPrompt)
    assert isinstance(last, GivenPrompt)
    assert last.turns == ("How?",)


def test_more_bad_rows_than_the_recipe_allows_are_an_error():
    good = [{"prompt": f"Why {n}?"} for n in range(9)]
    assert sum(isinstance(one, Dropped) for one in prompts(*good, {"prompt": None})) == 1
    with pytest.raises(RowError, match=r"2 of 11 rows cannot be used.*first: a.jsonl:10"):
        prompts(*good, {"prompt": None}, {"prompt": None})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        *((row, reason) for row, reason in BAD),
        ({"turns": ["a", 5]}, "field 'turns' must be a list of texts that are not empty"),
        ({"turns": ["a", " "]}, "field 'turns' must be a list of texts that are not empty"),
        ({"prompt": "a", "turns": ["b"]}, "fields 'turns' and 'prompt' both say what is asked; remove one of them"),
        ({"prompt": "a", "question_id": 1.5}, "field 'question_id' must be a whole number or a text"),
        ({"prompt": "a", "question_id": True}, "field 'question_id' must be a whole number or a text"),
        ({"prompt": "a", "question_id": ""}, "field 'question_id' must be a whole number or a text"),
        (MT_BENCH[0], "question_id 81 stands in a.jsonl:1 too; change one of them"),
    ],
)
def test_a_row_that_is_no_question_is_named(row: dict[str, Any], message: str):
    """A benchmark without one of its questions is another one."""
    with pytest.raises(RowError) as error:
        questions(MT_BENCH[0], row)
    assert str(error.value).startswith("a.jsonl:2: ")
    assert message in str(error.value)
