"""Messages in the shapes that data sets have, of which parts must not be lost or taken for others."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.records import Dropped, RankedSet, Turn
from selfreward_ray.store.user_files import RowError

ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "So."}


def exchange(found: list[Any]) -> tuple[tuple[Turn, ...], str, list[str]]:
    (one,) = found
    assert isinstance(one, RankedSet), one
    return one.history, one.prompt, [reply.text for reply in one.replies]


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation"])
@pytest.mark.parametrize("user", ["user", "USER", "human"])
def test_pairs_of_a_role_and_a_text_are_messages(read, column: str, user: str):
    row = {column: [["system", "Be brief."], [user, "Why?"], ["assistant", "So."]]}
    assert exchange(read(row)) == ((Turn("system", "Be brief."),), "Why?", ["So."])


def test_pairs_of_a_question_and_its_answer_stay_so(read):
    row = {
        "instruction": "And now?",
        "output": "Then.",
        "history": [["user", "Why?"], ["What is a user?", "A person."]],
    }
    (found,) = read(row, turns="any")
    assert [turn.text for turn in found.history] == ["user", "Why?", "What is a user?", "A person."]


def test_an_object_with_a_question_and_its_answer_keeps_its_system_text_and_its_mark(read):
    turn = {"system": "Answer like a pirate.", "input": "Why?", "output": "Arr."}
    assert exchange(read({"conversation": [turn]})) == ((Turn("system", "Answer like a pirate."),), "Why?", ["Arr."])
    for mark in ({"output_with_loss": False}, {"weight": 0}, {"loss_mask": 0}, {"training": False}):
        (found,) = read({"conversation": [{**turn, **mark}]})
        assert isinstance(found, Dropped)
        assert found.reason == "reply has weight 0"


@pytest.mark.parametrize("kind", ["thinking", "reasoning"])
@pytest.mark.parametrize("key", ["text", "kind"])
def test_the_thought_among_the_parts_of_a_message_is_no_part_of_the_reply(read, kind: str, key: str):
    thought = {"type": kind, kind if key == "kind" else "text": "hm"}
    row = {"messages": [ASKED, {"role": "assistant", "content": [thought, {"type": "text", "text": "So."}]}]}
    (found,) = read(row)
    assert [(reply.text, reply.thought) for reply in found.replies] == [("So.", "hm")]


def test_a_part_of_an_unknown_type_makes_a_row_bad(read):
    row = {"messages": [ASKED, {"role": "assistant", "content": [{"type": "citation", "text": "[1]"}]}]}
    (found,) = read(row)
    assert found.reason == "a part of a message is of an unknown type"


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_messages_in_a_cell_of_text_are_messages(read, written):
    assert exchange(read({"messages": written([ASKED, SAID])})) == ((), "Why?", ["So."])
    worse = {"role": "assistant", "content": "No."}
    row = {"prompt": written([ASKED]), "chosen": written([SAID]), "rejected": written([worse])}
    assert exchange(read(row)) == ((), "Why?", ["So.", "No."])


def test_messages_in_a_csv_file(read):
    worse = {"role": "assistant", "content": "No."}
    with Path("chats.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "chosen", "rejected"], ["Why?", json.dumps([ASKED, SAID]), json.dumps([ASKED, worse])]]
        )
    assert exchange(read(source="chats.csv")) == ((), "Why?", ["So.", "No."])


@pytest.mark.parametrize(
    "text", ['[{"name": "ada", "age": 36}]', "[{'role'", '[{"role": "user"}, 3]', "[1, 2]", "[{}]"]
)
def test_a_reply_that_only_looks_like_messages_stays_a_text(read, text: str):
    assert exchange(read({"prompt": "Why?", "response": text})) == ((), "Why?", [text])


@pytest.mark.parametrize("label", [None, "missing"])
def test_one_row_without_its_label_does_not_decide_the_format(read, label: str | None):
    rows = [{"prompt": f"{n}?", "completion": "Good.", "label": True} for n in range(12)]
    rows[0]["label"] = None
    rows[5]["label"] = False
    found = read(*rows)
    assert [one.reason for one in found if isinstance(one, Dropped)] == ["its label is neither true nor false"]
    liked = {one.prompt: one.replies[0].rank for one in found if isinstance(one, RankedSet)}
    assert liked["5?"] == 1
    assert sorted(liked.values()) == [0] * 10 + [1]


def test_a_column_that_is_null_in_all_rows_tells_no_format(read):
    row = {"messages": [ASKED, SAID], "chosen": "So.", "rejected": None}
    assert exchange(read(row)) == ((), "Why?", ["So."])


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("<think>a</think>Same.", "<think>b</think>Same."), ("Same.</s>", "Same.")]
)
def test_replies_that_differ_in_their_thought_or_end_token_alone_are_the_same(read, chosen: str, rejected: str):
    (found,) = read({"prompt": "Why?", "chosen": chosen, "rejected": rejected})
    assert found == Dropped("seed.jsonl:1", "seed", "its replies are the same")


@pytest.mark.parametrize(
    "split", ["test", "eval", "evaluation", "testing", "test-hard", "held_out", "dev-clean", "testset"]
)
@pytest.mark.parametrize("column", ["split", "subset", "partition"])
def test_rows_of_other_splits_are_left_out(read, split: str, column: str):
    (found,) = read({"prompt": "Why?", "response": "So.", column: split})
    assert found.reason == "it belongs to another split"


@pytest.mark.parametrize("split", ["train", "train_sft", "training", "trainset", "hard", "math"])
def test_rows_of_the_asked_split_and_of_none_are_read(read, split: str):
    assert exchange(read({"prompt": "Why?", "response": "So.", "split": split})) == ((), "Why?", ["So."])


@pytest.mark.parametrize("column", ["options", "choices", "documents", "passage", "article", "background", "persona"])
def test_a_column_that_is_a_part_of_the_question_is_refused(read, column: str):
    row = {"question": "Which?", "answer": "B", column: ["red", "blue"]}
    with pytest.raises(RowError, match=f"column '{column}' changes what a row means.*write it into the prompt, or "):
        read(row)
    assert exchange(read(row, ignore=[column])) == ((), "Which?", ["B"])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("label", False),
        ("score", 1),
        ("rating", 2.5),
        ("reward", -1),
        ("rank", 3),
        ("chosen", False),
        ("is_safe", False),
    ],
)
def test_a_judgement_on_the_only_reply_is_not_passed_over(read, column: str, value: object):
    rows = {"instruction": "Why?", "output": "So."}, {"messages": [ASKED, SAID]}, {"question": "Why?", "answer": "So."}
    for row in rows:
        with pytest.raises(RowError, match=f"column '{column}' may say that a reply is bad, and format "):
            read({**row, column: value})
        assert exchange(read({**row, column: value}, ignore=[column])) == ((), "Why?", ["So."])


@pytest.mark.parametrize("tools", ["[]", "{}", "null", []])
def test_a_list_of_no_tools_is_none(read, tools: object):
    assert exchange(read({"messages": [ASKED, SAID], "tools": tools})) == ((), "Why?", ["So."])
