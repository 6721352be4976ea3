"""What `export` writes is read by the commands that take such rows, with every column known."""

import json
from typing import Any

import pytest

from selfreward_ray.prompts.answered import AnsweredPrompt, read_answered
from selfreward_ray.prompts.given import prompt_reading
from selfreward_ray.recipe.seed_data import RowReading, SeedData
from selfreward_ray.records import RankedSet
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.steps.exported_rows import (
    _COMPARISON_SCHEMA,
    _CONVERSATION_SCHEMA,
    _EVALUATED_SCHEMA,
    _EXAMPLE_SCHEMA,
    _PAIR_SCHEMA,
    _REPLY_SCHEMA,
)
from selfreward_ray.store.user_files import Row

ASK = [{"role": "user", "content": "Why?"}]
SAY = [{"role": "assistant", "content": "So."}]
PAIR = {
    "id": "p", "prompt": ASK, "chosen": SAY, "rejected": [{"role": "assistant", "content": "No."}], "chosen_score": 4.0,
    "rejected_score": 2.0, "label_smoothing": 0.0, "chosen_thought": "Hm.", "rejected_thought": None,
}  # fmt: skip
EXAMPLE = {"id": "e", "kind": "ift", "messages": ASK + SAY, "thought": "Hm."}
REPLY = {
    "id": "r", "history": None, "prompt": "Why?", "reply": "So.", "generator": "m", "finished": True, "mean": 4.0,
    "scores": [4.0, None], "thought": "Hm.",
}  # fmt: skip
EVALUATED = REPLY | {"scorer_score": 1.0, "scorer_maximum": 1.0}
CONVERSATION = {
    "id": "c", "question_id": "81", "messages": ASK + SAY, "generator": "m", "finished": True, "thoughts": ["Hm."],
}  # fmt: skip
COMPARISON = {"id": "c", "prompt": "Why?", "left": "So.", "right": "No.", "preferred": "left"}

EXPORTS: list[tuple[Any, dict[str, Any], str]] = [
    (_PAIR_SCHEMA, PAIR, "Hm."),
    (_EXAMPLE_SCHEMA, EXAMPLE, "Hm."),
    (_REPLY_SCHEMA, REPLY, "Hm."),
    (_EVALUATED_SCHEMA, EVALUATED, "Hm."),
    (_CONVERSATION_SCHEMA, CONVERSATION, "Hm."),
    (_COMPARISON_SCHEMA, COMPARISON, ""),
]


@pytest.mark.parametrize(("schema", "row", "thought"), EXPORTS)
def test_an_export_is_seed_data(schema: Any, row: dict[str, Any], thought: str, tmp_path):
    assert schema.names == list(row)
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    reading = Reading(wanted := SeedData(source=str(tmp_path / "rows.jsonl")))
    (found,) = read_seed(wanted, reading)
    assert isinstance(found, RankedSet), found
    assert reading.notes() == []
    best = min(found.replies, key=lambda reply: reply.rank)
    assert (found.prompt, best.text, best.rank, best.thought) == ("Why?", "So.", 0, thought)


@pytest.mark.parametrize(("schema", "row", "thought"), EXPORTS)
def test_an_export_holds_replies_to_judge(schema: Any, row: dict[str, Any], thought: str):
    reading = prompt_reading(RowReading(bad_share=1), "--replies")
    (found,) = read_answered([Row("a.jsonl:1", dict(row))], reading)
    assert isinstance(found, AnsweredPrompt), found
    assert (found.prompt, found.finished, thought in found.replies[0]) == ("Why?", True, True)
    assert found.replies[0].endswith("So.")


@pytest.mark.parametrize("row", [REPLY, CONVERSATION])
def test_a_reply_that_was_cut_off_is_no_seed_data(row: dict[str, Any], tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row | {"finished": False}) + "\n")
    (found,) = read_seed(SeedData(source=str(tmp_path / "rows.jsonl")))
    assert found.reason == "its reply was cut off"
