"""Prompts with replies, in the forms in which models' answers are found."""

from collections.abc import Iterable
from typing import Any

import pytest

from selfreward_ray.prompts.answered import (
    NO_REPLY,
    NO_TRUTH,
    NOT_ONE_REPLY,
    NOT_THE_LAST,
    OTHER_TURNS,
    AnsweredPrompt,
    read_answered,
)
from selfreward_ray.prompts.given import prompt_reading
from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.seed.readers.tools import TOOLS
from selfreward_ray.seed.readers.values import OTHER_THOUGHTS
from selfreward_ray.store.user_files import Row, RowError
from selfreward_ray.thought import Parted, part_thought

Found = list[AnsweredPrompt | Dropped]


def reading(**options: Any) -> Reading:
    return prompt_reading(RowReading(bad_share=1, **options), "--replies")


def read(*rows: dict[str, Any], by: Reading | None = None) -> Found:
    numbered: Iterable[Row] = (Row(f"a.jsonl:{n}", fields) for n, fields in enumerate(rows, start=1))
    return list(read_answered(numbered, by or reading()))


def one(row: dict[str, Any], by: Reading | None = None) -> AnsweredPrompt:
    (found,) = read(row, by=by)
    assert isinstance(found, AnsweredPrompt), found
    return found


CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize(
    ("row", "prompt", "replies"),
    [
        ({"prompt": "Why?", "reply": "So."}, "Why?", ("So.",)),
        ({"prompt": "Why?", "reply": ""}, "Why?", ("",)),
        ({"prompt": "Why?", "replies": ["So.", ""], "reply": None}, "Why?", ("So.", "")),
        ({"instruction": "Why?", "output": "So.", "generator": "gpt", "dataset": "helpful_base"}, "Why?", ("So.",)),
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, "Add.\n\n1, 2", ("3",)),
        (
            {"instruction": "Sum up.", "context": "Long.", "response": "L.", "category": "x"},
            "Sum up.\n\nLong.",
            ("L.",),
        ),
        ({"question": "Why?", "answer": "So."}, "Why?", ("So.",)),
        ({"prompt": "Why?", "response": "So."}, "Why?", ("So.",)),
        ({"prompt": "Why?", "responses": ["So.", "Thus."]}, "Why?", ("So.", "Thus.")),
        ({"prompt": "Why?", "responses": [{"text": "So.", "rank": 1}, {"text": "Thus."}]}, "Why?", ("So.", "Thus.")),
        ({"prompt": "Why?", "generation": ["So."]}, "Why?", ("So.",)),
        ({"prompt": "Why?", "generations": ["So.", "Thus."]}, "Why?", ("So.", "Thus.")),
        ({"prompt": "Why?", "completion": "So."}, "Why?", ("So.",)),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "Why?", ("So.",)),
        ({"prompt": "Why?", "completions": [{"response": "So.", "model": "a"}]}, "Why?", ("So.",)),
        ({"prompt": "Why?", "outputs": [{"generated_text": "So."}]}, "Why?", ("So.",)),
        ({"prompt": "Why?", "response": {"role": "assistant", "content": "So."}}, "Why?", ("So.",)),
        ({"messages": CHAT}, "Why?", ("So.",)),
        ({"messages": CHAT, "prompt": "Why?"}, "Why?", ("So.",)),
        ({"messages": CHAT[:1], "response": "So."}, "Why?", ("So.",)),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, "Why?", ("So.",)),
    ],
)
def test_forms_of_replies(row: dict[str, Any], prompt: str, replies: tuple[str, ...]):
    assert one(row) == AnsweredPrompt("a.jsonl:1", (), prompt, replies, True)


HISTORY = (Turn("system", "Be brief."), Turn("user", "Hi."), Turn("assistant", "Hello."))


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be brief.", "history": [["Hi.", "Hello."]], "prompt": "Why?", "output": "So."},
        {"history": [{"role": t.role, "content": t.text} for t in HISTORY], "prompt": "Why?", "reply": "So."},
        {"messages": [*({"role": t.role, "content": t.text} for t in HISTORY), *CHAT]},
        {"system": "Be brief.", "messages": [{"role": t.role, "content": t.text} for t in HISTORY[1:]] + CHAT},
    ],
)
def test_system_text_and_earlier_turns_are_kept(row: dict[str, Any]):
    found = one(row)
    assert (found.history, found.prompt, found.replies) == (HISTORY, "Why?", ("So.",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "Why?", "reply": "a", "replies": ["b"]},
            "'replies' stands beside 'reply', and either may be the reply",
        ),
        ({"prompt": "Why?", "response": "a", "output": "b"}, "'output' stands beside 'response', and either may be"),
        ({"prompt": "Why?", "question": "How?", "reply": "a"}, "stands beside 'prompt', and either may be the prompt"),
        (
            {"messages": CHAT, "conversations": CHAT},
            "'conversations' stands beside 'messages', and either may be the conv",
        ),
        ({"prompt": "Why?", "context": "Long.", "reply": "a"}, "'context' may belong to the prompt"),
        ({"messages": CHAT, "prompt": "How?"}, "'prompt' stands beside 'messages', and is none of its messages"),
        ({"messages": CHAT, "context": "Long."}, "'context' stands beside 'messages', and is none of its messages"),
    ],
)
def test_a_row_that_may_mean_two_things_is_refused_by_the_name_of_its_column(row: dict[str, Any], message: str):
    with pytest.raises(RowError) as error:
        read({"prompt": "Why?", "reply": "So."}, row)
    assert str(error.value).startswith("a.jsonl:2: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Why?"}, NO_REPLY),
        ({"prompt": "Why?", "reply": None}, NO_REPLY),
        ({"messages": CHAT[:1]}, NOT_THE_LAST),
        ({"prompt": "Why?", "replies": []}, "field 'replies' is empty"),
        ({"prompt": "Why?", "replies": ["a", 5]}, "field 'replies' is not a text"),
        ({"prompt": "Why?", "replies": ["a", {"score": 5}]}, "field 'replies' is null"),
        ({"prompt": "Why?", "reply": 7}, "field 'reply' is neither a text nor a list of texts"),
        ({"prompt": "Why?", "completion": CHAT}, NOT_ONE_REPLY),
        ({"prompt": "Why?", "responses": [{"from": "human", "value": "So."}]}, NOT_ONE_REPLY),
        ({"prompt": "Why?", "reply": "\ud800"}, "reply holds a lone surrogate"),
        ({"prompt": "Why?", "replies": ["a", "b" * 33_000]}, "reply is longer than"),
        ({"prompt": "Why?", "reply": "a", "tools": [{"name": "f"}]}, TOOLS),
        ({"prompt": " ", "reply": "So."}, "prompt is empty"),
        ({"prompt": "Why?", "system": "\ud800", "reply": "So."}, "a message before the prompt holds a lone surrogate"),
        ({"prompt": "Why?", "reply": "So.", "finished": "no"}, NO_TRUTH),
        ({"reply": "So."}, "field 'prompt' is missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_dropped_with_its_place_and_reason(row: dict[str, Any], reason: str):
    good = {"prompt": "Why?", "reply": "So."}
    first, bad, last = read(good, row, good)
    assert isinstance(bad, Dropped)
    assert (bad.id, bad.reason[: len(reason)]) == ("a.jsonl:2", reason)
    assert isinstance(first, AnsweredPrompt)
    assert isinstance(last, AnsweredPrompt)


def test_too_many_bad_rows_stop_with_their_reasons():
    by = prompt_reading(RowReading(), "--replies")
    with pytest.raises(RowError, match=r"2 of 4 rows cannot be used.*2 × it has no reply \(first: a.jsonl:2\)"):
        read({"prompt": "Why?", "reply": "So."}, *[{"prompt": "Why?"}] * 2, {"prompt": "How?", "reply": ""}, by=by)


def test_the_recipe_may_stop_at_the_first_bad_row():
    with pytest.raises(RowError, match="a.jsonl:1: it has no reply"):
        read({"prompt": "Why?"}, by=reading(bad_rows="stop"))


def test_columns_of_the_recipe_name_prompt_and_reply():
    found = one({"q": "Why?", "model_answer": "So."}, by=reading(columns={"prompt": "q", "reply": "model_answer"}))
    assert (found.prompt, found.replies) == ("Why?", ("So.",))


def test_columns_that_nobody_knows_are_noted_once():
    by = reading()
    read(*[{"prompt": "Why?", "reply": "So.", "mood": "glad", "mean": 4.5, "generator": "g"}] * 2, by=by)
    (note,) = by.notes()
    assert "'mood'" in note
    assert "mean" not in note.replace("meaning", "")


def test_marks_of_a_chat_template_are_taken_out_of_prompt_and_reply():
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    found = one({"prompt": prompt, "completion": "So.<|im_end|>"})
    assert (found.history, found.prompt, found.replies) == ((Turn("system", "Be brief."),), "Why?", ("So.",))


@pytest.mark.parametrize(("finished", "expected"), [(True, True), (False, False), (None, True)])
def test_a_reply_may_say_that_it_is_not_finished(finished: bool | None, expected: bool):
    assert one({"prompt": "Why?", "reply": "So.", "finished": finished}).finished is expected


@pytest.mark.parametrize(
    ("field", "value", "finished"),
    [
        ("finish_reason", "length", False),
        ("finish_reason", "stop", True),
        ("finish_reason", None, True),
        ("stop_reason", "max_tokens", False),
        ("stop_reason", "end_turn", True),
        ("truncated", True, False),
        ("truncated", False, True),
    ],
)
def test_a_row_says_in_many_ways_that_its_reply_was_cut_off(field: str, value: Any, finished: bool):
    assert one({"prompt": "Why?", "response": "So.", field: value}).finished == finished


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Why?", "response": "So.", "reasoning_content": "Hm."},
        {"prompt": "Why?", "reply": "So.", "thought": "Hm.", "finished": True, "mean": None, "scores": None},
        {"messages": [CHAT[0], CHAT[1] | {"reasoning_content": "Hm."}]},
        {"messages": [*CHAT, CHAT[0], CHAT[1]], "thoughts": [None, "Hm."]},
    ],
)
def test_a_thought_of_a_message_or_a_column_begins_its_reply(fields: dict[str, Any]):
    (reply,) = one(fields).replies
    assert part_thought(reply) == Parted("Hm.", "So.", True, len(reply) - len("\n\nSo."))


def test_thoughts_are_as_many_as_replies():
    row = {"prompt": "Why?", "replies": ["So.", "Thus."]}
    first, second = map(part_thought, one(row | {"thoughts": [None, "Hm."]}).replies)
    assert (first.thought, first.reply, second.thought, second.reply) == ("", "So.", "Hm.", "Thus.")
    (dropped,) = read(row | {"thought": "Hm."})
    assert isinstance(dropped, Dropped)
    assert dropped.reason == OTHER_THOUGHTS


def test_the_replies_of_pairs_and_votes_are_judged():
    pair = {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": "No.", "chosen_thought": "Hm.", "label_smoothing": 0.1}
    found = one(pair)
    assert [(part.thought, part.reply) for part in map(part_thought, found.replies)] == [("Hm.", "So."), ("", "No.")]
    assert one({"prompt": "Why?", "left": "So.", "right": "No.", "preferred": "first"}).replies == ("So.", "No.")
    assert one({"prompt": "Why?", "chosen": "So.", "rejected": "So."}).replies == ("So.", "So.")


def test_answers_of_mt_bench_are_read_beside_their_questions():
    answer = {"question_id": 81, "choices": [{"index": 0, "turns": ["So.", "Then."]}], "model_id": "m", "tstamp": 1.0}
    found = one(answer | {"turns": ["Why?", "And?"], "category": "x"})
    assert (found.history, found.prompt, found.replies) == (
        (Turn("user", "Why?"), Turn("assistant", "So.")),
        "And?",
        ("Then.",),
    )
    with pytest.raises(
        RowError, match=r"a.jsonl:1: an answer of MT-Bench names its question by question_id .*write the"
    ):
        read(answer)
    (dropped,) = read(answer | {"turns": ["Why?"]})
    assert isinstance(dropped, Dropped)
    assert dropped.reason == OTHER_TURNS
    with pytest.raises(RowError, match="column 'choices' changes what a row means"):
        read({"prompt": "Which?", "reply": "a", "choices": ["a", "b"]})
