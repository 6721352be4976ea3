"""Columns: used, known not to matter, named in the recipe, reported, or refused because they change the meaning."""

from typing import Any

import pytest

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers import Reading
from selfreward_ray.seed.readers.languages import in_another_language
from selfreward_ray.store.user_files import RowError

PREFERENCE = {"prompt": "p", "chosen": "c", "rejected": "r"}
CHAT = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}


def test_columns_of_other_names_are_read_as_the_recipe_names_them(read):
    row = {"q": "Why?", "answers": {"best": "So.", "others": ["No."]}, "prompt": "an id"}
    (found,) = read(row, columns={"prompt": "q", "chosen": "answers.best", "rejected": "answers.others.0"})
    assert (found.prompt, [one.text for one in found.replies]) == ("Why?", ["So.", "No."])


def test_a_column_of_a_fields_name_is_not_meant_where_another_one_is_named(read):
    """Not even in a row that has no such column."""
    rows = [{**PREFERENCE, "question": "Why?"}, PREFERENCE]
    bad, found = read(*rows, columns={"prompt": "question"})
    assert found.prompt == "Why?"
    assert (bad.id, bad.step) == ("seed.jsonl:2", "seed")


def test_the_keys_of_messages_may_be_named_too(read):
    row = {"dialog": [{"who": "user", "says": "Why?"}, {"who": "assistant", "says": "So."}]}
    (found,) = read(row, columns={"messages": "dialog", "role": "who", "content": "says"})
    assert (found.prompt, found.replies[0].text) == ("Why?", "So.")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"promt": "q"}, "seed_data.columns: no format has a field 'promt'; did you mean 'prompt'?"),
        (
            {"prompt": "question"},
            "seed_data.columns: seed.jsonl:1 has no column 'question' for 'prompt'; its columns: 'prompt'",
        ),
    ],
)
def test_a_wrong_name_is_told(read, columns, message):
    with pytest.raises(RowError) as error:
        read(PREFERENCE, columns=columns)
    assert str(error.value).startswith(message)


def test_a_column_that_only_some_rows_have_may_be_named(read):
    rows = [PREFERENCE, {**PREFERENCE, "prompt": "q", "persona": "A pirate."}]
    _, found = read(*rows, columns={"system": "persona"})
    assert found.history[0].text == "A pirate."


def test_columns_that_nobody_uses_are_reported_once_with_what_to_do(read):
    reading = Reading(SeedData())
    rows = [PREFERENCE, {**PREFERENCE, "mood": "good", "tone": "warm", "note": None}, {**PREFERENCE, "mood": "bad"}]
    read(*rows, reading=reading)
    assert reading.notes() == [
        "seed_data.source: not used by the format 'preference': 'mood', 'tone' (first in seed.jsonl:2); "
        "seed_data.columns={FIELD: mood} says what a column is, seed_data.ignore=[mood, tone] leaves it out without "
        "this line"
    ]
    assert reading.figures() == {"reading": {"format": "preference", "bad_rows": 0, "unused_columns": ["mood", "tone"]}}
    ignoring = Reading(SeedData())
    read(*rows, ignore=["mood", "tone"], reading=ignoring)
    assert ignoring.notes() == []


def test_keys_of_messages_and_responses_are_reported_too(read):
    for row, name in (
        ({"messages": [{**message, "mood": "good"} for message in CHAT["messages"]]}, "messages.mood"),
        ({"prompt": "p", "responses": [{"text": "t", "rank": 0, "mood": "good"}]}, "responses.mood"),
    ):
        reading = Reading(SeedData())
        read(row, reading=reading)
        assert reading.figures()["reading"]["unused_columns"] == [name]
        read(row, ignore=[name], reading=(ignoring := Reading(SeedData())))
        assert ignoring.notes() == []


def test_a_source_that_nobody_read_has_no_figures():
    assert Reading(SeedData()).figures() == {}


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({**PREFERENCE, "context": "c"}, "context"),
        ({**CHAT, "context": "c"}, "context"),
        ({**CHAT, "input": "i"}, "input"),
        ({**CHAT, "reasoning": "Hm."}, "reasoning"),
        ({**CHAT, "weight": 0.5}, "weight"),
        ({"prompt": CHAT["messages"][:1], "input": "i", "completion": "a"}, "input"),
        ({**PREFERENCE, "question": "another one"}, "question"),
        ({**PREFERENCE, "system": "a", "system_prompt": "b"}, "system_prompt"),
        ({"messages": [CHAT["messages"][0], {**CHAT["messages"][1], "weight": 0.5}]}, "messages.weight"),
    ],
)
def test_a_column_that_changes_the_meaning_is_refused_unless_it_is_ignored(read, row, column):
    with pytest.raises(RowError) as error:
        read(row)
    said = str(error.value)
    assert said.startswith(f"seed.jsonl:1: column '{column}' ")
    assert f"seed_data.ignore=[{column}] leaves it out" in said
    assert len(read(row, ignore=[column])) == 1


@pytest.mark.parametrize("column", ["system", "system_prompt", "history", "passage", "persona", "thinking"])
def test_a_tree_has_no_columns_that_change_its_meaning(read, column):
    reply = {"message_id": "a", "text": "So.", "role": "assistant", "rank": 0}
    asked = {"message_id": "u", "text": "Why?", "role": "prompter", "replies": [reply]}
    with pytest.raises(RowError, match=f"^seed.jsonl:1: column '{column}' changes what a row means"):
        read({"message_tree_id": "u", "prompt": asked, column: "x"})


def test_a_score_beside_ranked_replies_says_nothing_of_one_of_them(read):
    reading = Reading(SeedData())
    (found,) = read({**PREFERENCE, "score": 1}, reading=reading)
    assert [one.rank for one in found.replies] == [0, 1]
    assert reading.figures()["reading"]["unused_columns"] == ["score"]


@pytest.mark.parametrize("name", ["is_correct", "accepted", "deleted", "upvotes"])
def test_what_may_say_that_a_lone_reply_is_bad_is_refused(read, name):
    with pytest.raises(RowError, match=f"^seed.jsonl:1: column '{name}' may say that a reply is bad"):
        read({"question": "q", "answer": "a", name: 0})
    (found,) = read({"question": "q", "answer": "a", name: "b"})  # a class, or a text
    assert not isinstance(found, Dropped)


@pytest.mark.parametrize("parts", [[{"text": "Be brief."}], [{"type": "text", "text": "Be brief."}]])
def test_a_system_message_may_be_in_parts(read, parts):
    (found,) = read({**CHAT, "system": parts})
    assert found.history == (Turn("system", "Be brief."),)
    (found,) = read({**CHAT, "system": [{"type": "image", "url": "x"}]})
    assert isinstance(found, Dropped)


@pytest.mark.parametrize("empty", ["<noinput>", " <No input>\n", "", None])
def test_a_word_for_no_input_is_none(read, empty):
    (found,) = read({"instruction": "Do it.", "input": empty, "output": "Done."})
    assert found.prompt == "Do it."


def test_ranks_and_scores_that_contradict_each_other_are_a_bad_row(read):
    rows = [
        {"prompt": "p", "responses": [{"text": "a", "rank": 0, "score": low}, {"text": "b", "rank": 1, "score": 2}]}
        for low in (1, 2, 3, None)
    ]
    first, *others = read(*rows)
    assert isinstance(first, Dropped)
    assert first.reason.startswith("the response with the better rank")
    assert not any(isinstance(one, Dropped) for one in others)


def test_messages_as_numpy_prints_them_are_read_and_others_are_no_text(read):
    """As pandas' `to_csv` writes a column of messages."""
    said = "[{'content': 'q', 'role': 'user'}\n {'content': 'it}\\n{', 'role': 'assistant'}]"
    (found,) = read({"chosen": said, "rejected": said.replace("it}", "no}")})
    assert (found.prompt, found.replies[0].text) == ("q", "it}\n{")
    (bad,) = read({"prompt": "q", "chosen": "[{'role': 'user', 'content': array(['a'])}]", "rejected": "b"})
    assert isinstance(bad, Dropped)
    assert "messages in a form that is not read" in bad.reason


def test_the_remedy_for_a_context_helps(read):
    (found,) = read({**PREFERENCE, "context": "There."}, columns={"input": "context"})
    assert found.prompt == "p\n\nThere."


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"weight": 0}, "it has weight 0"),
        ({"weight": False}, "it has weight 0"),
        ({"weight": 1.0}, None),
        ({"weight": True}, None),
        ({"split": "test"}, "it belongs to another split"),
        ({"split": "validation"}, "it belongs to another split"),
        ({"split": "train_sft"}, None),
        ({"split": "spring"}, None),
        ({"language": "de"}, "it is in another language"),
        ({"lang": "en-US"}, None),
    ],
)
def test_a_column_may_rule_a_row_out(read, column, reason):
    (found,) = read({**CHAT, **column}, bad_share=0)
    assert (found.reason if isinstance(found, Dropped) else None) == reason


def test_the_split_and_the_language_are_the_recipes(read):
    (found,) = read({**CHAT, "split": "test", "language": "Chinese"}, split="test", language="zh")
    assert found.prompt == "u"
    found, other = read({**CHAT, "split": "train"}, {**CHAT, "split": "test"}, split="main/train")
    assert found.prompt == "u"
    assert other == Dropped("seed.jsonl:2", "seed", "it belongs to another split")


@pytest.mark.parametrize(
    ("said", "wanted", "other"),
    [
        ("en", "en", False),
        ("EN_us", "en", False),
        ("English", "en", False),
        ("de", "en", True),
        ("German", "en", True),
        ("zh-Hans", "en", True),
        ("python", "en", False),
        ("go", "en", False),
        ("C++", "en", False),
        ("te", "en", True),
        ("Telugu", "en", True),
        ("Chinese (Simplified)", "en", True),
        ("deu", "en", True),
        ("deu", "de", False),
        ("eng_Latn", "en", False),
        (["German"], "en", True),
        (["German", "en"], "en", False),
        ([], "en", False),
        (7, "en", False),
        ("de", None, False),
        ("english", "German", True),
        ("german", "German", False),
    ],
)
def test_another_language_is_told_by_its_code_or_name(said: Any, wanted: str | None, other: bool):
    assert in_another_language(said, wanted) is other
