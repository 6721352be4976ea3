"""What rows ask, in every format, whatever becomes of their replies."""

from typing import Any

import pytest

from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers import Asked, Reading, read_asked
from selfreward_ray.seed.readers.tools import TOOLS
from selfreward_ray.store.user_files import Row, RowError

U, A, S = (lambda text, role=role: Turn(role, text) for role in ("user", "assistant", "system"))
CHAT = [{"role": role, "content": text} for role, text in (("user", "u0"), ("assistant", "a0"), ("user", "u1"))]


def asked(*rows: dict[str, Any], turns: Any = "first", **options: Any) -> list[Asked | Dropped]:
    reading = Reading.of_prompts(RowReading(**{"bad_share": 1, **options}), turns=turns)
    return list(read_asked([Row(f"a.jsonl:{n}", row) for n, row in enumerate(rows, start=1)], reading))


@pytest.mark.parametrize(
    ("row", "history", "prompt"),
    [
        ({"prompt": "p"}, (), "p"),
        ({"system": "s", "prompt": "p"}, (S("s"),), "p"),
        ({"question": "q", "history": [["u", "a"]]}, (U("u"), A("a")), "q"),
        ({"instruction": "i", "input": "x"}, (), "i\n\nx"),
        ({"instruction": "i", "output": None, "generator": "g", "dataset": "d"}, (), "i"),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, (), "p"),
        ({"prompt": "\n\nHuman: u\n\nAssistant: a\n\nHuman: p\n\nAssistant:"}, (U("u"), A("a")), "p"),
        ({"prompt": CHAT}, (U("u0"), A("a0")), "u1"),
        ({"messages": CHAT}, (U("u0"), A("a0")), "u1"),
        ({"messages": CHAT[:2]}, (), "u0"),
        ({"conversations": [{"from": "human", "value": "u"}]}, (), "u"),
        ({"prompt": "p", "completion": "c", "id": 7}, (), "p"),
        ({"prompt": "p", "response": "c", "rating": 2}, (), "p"),
        ({"prompt": "p", "split": "test"}, (), "p"),
        (
            {"prompt": [{"role": "system", "content": "s"}, CHAT[2]], "history": [["u", "a"]]},
            (S("s"), U("u"), A("a")),
            "u1",
        ),
    ],
)
def test_what_a_row_asks(row, history, prompt):
    assert asked(row) == [Asked("7" if "id" in row else None, "a.jsonl:1", history, prompt)]


def test_every_question_of_a_chat_is_asked_where_any_turn_is_taken():
    chat = [*CHAT, {"role": "assistant", "content": "a1"}]
    assert [(one.prompt, len(one.history)) for one in asked({"messages": chat}, turns="any")] == [("u0", 0), ("u1", 2)]


def test_trees_ask_what_their_messages_were_answered_for():
    tree = {"message_id": "u", "text": "Why?", "role": "prompter"}
    reply = {"message_id": "a", "text": "So.", "role": "assistant", "rank": 0}
    (found,) = asked({"message_tree_id": "u", "prompt": {**tree, "replies": [reply]}})
    assert (found.id, found.prompt) == ("u", "Why?")


def test_bad_rows_and_empty_prompts_are_dropped():
    found = asked({"prompt": None}, {"prompt": " "}, {"prompt": "p", "history": [["u", " "]]}, {"prompt": "p"})
    assert found[:3] == [
        Dropped("a.jsonl:1", "seed", "field 'prompt' is null"),
        Dropped("a.jsonl:2", "seed", "prompt is empty"),
        Dropped("a.jsonl:3", "seed", "a message before the prompt is empty"),
    ]
    assert found[3] == Asked(None, "a.jsonl:4", (), "p")


def test_messages_name_the_section_of_the_recipe():
    with pytest.raises(RowError, match=r"^prompts.source: 1 of 2 rows .* prompts.bad_share=0.1 "):
        asked({"prompt": None}, {"prompt": "p"}, bad_share=0.1)
    with pytest.raises(
        RowError, match=r"a.jsonl:1: has no known format; .*prompts.columns=\{FIELD: COLUMN\}.* prompt \(prompt, …\)"
    ):
        asked({"words": "w"})
    with pytest.raises(RowError, match=r"^prompts.source: holds no rows"):
        asked()


@pytest.mark.parametrize("state", [None, "ready_for_export", "prompt_lottery_waiting", "growing"])
@pytest.mark.parametrize("flat", [True, False])
def test_prompts_of_trees_need_no_replies(state, flat: bool):
    message = {"message_id": "u", "text": "Why?", "role": "prompter"}
    unranked = {"message_id": "a", "text": "So.", "role": "assistant"}
    for replies in ([], [unranked]):
        rows = [{"message_tree_id": "u", "tree_state": state, "prompt": {**message, "replies": replies}}]
        if flat:
            rows = [
                {**one, "message_tree_id": "u", "tree_state": state, "parent_id": "u" if one is unranked else None}
                for one in (message, *replies)
            ]
        (found,) = asked(*rows)
        assert (found.id, found.prompt) == ("u", "Why?")


def test_a_prompt_of_a_tree_that_failed_its_review_is_dropped():
    message = {"message_id": "u", "text": "Why?", "role": "prompter", "replies": []}
    (found,) = asked({"message_tree_id": "u", "tree_state": "aborted_low_grade", "prompt": message})
    assert isinstance(found, Dropped)


SO = "<think>So, and no end"
GOES_ON = "So.\n\nHuman: Why?\n\nAssistant: So."


@pytest.mark.parametrize(
    "row",
    [
        {"question": "p", "response": [7]},
        {"prompt": "p", "completion": "c", "label": "maybe"},
        {"prompt": "p", "completion": "c", "kto_tag": "maybe"},
        {"messages": [{"role": "user", "content": "p"}, CHAT[1]], "kto_tag": "maybe"},
        {"messages": [{"role": "user", "content": "p"}], "kto_tag": True},
        {"prompt": "p", "response": "c", "score": "high"},
        {"prompt": "p", "response": ["c"], "score": 1},
        {"prompt": "p", "chosen": "c", "rejected": "c"},
        {"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": 1, "score_rejected": 2},
        {"prompt": "p", "chosen": SO, "rejected": "r"},
        {"prompt": "p", "responses": ["a"], "ranks": [1, 2]},
        {"prompt": "p", "answers": [{"answer": None}]},
        {"instruction": "p", "completions": []},
        {"prompt": "p", "response": "c", "helpfulness": "much"},
        {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 2},
        {"history": "p", "human_ref_A": "a", "human_ref_B": "b", "labels": None},
        {"context": "p", "response1": "a", "response2": "b", "overall_preference": None},
        {"prompt": "p", "response_a": "a", "response_b": "b", "winner": "nobody knows"},
        {"prompt": '["p"]', "response_a": '["a"]', "response_b": '["b"]', "winner_model_a": 1, "winner_model_b": 1},
        {"conversation_a": [{"role": "user", "content": "p"}, CHAT[1]]}
        | {"conversation_b": [{"role": "user", "content": "p"}, CHAT[1]], "winner": "nobody knows"},
        {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": SO}]},
        {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": GOES_ON}]},
        {"conversations": [{"role": "user", "content": "p"}, CHAT[1]]}
        | {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "another"}]},
    ],
)
def test_a_prompt_is_read_whatever_is_wrong_with_its_replies(row):
    """Labels, scores and replies that would make the row a bad one among seed data."""
    assert asked(row) == [Asked(None, "a.jsonl:1", (), "p")]


def test_a_chat_that_is_open_asks_its_last_message_whatever_its_replies_are():
    chat = [CHAT[0], {"role": "assistant", "content": "a0"}, CHAT[2]]
    assert asked({"messages": [CHAT[0], {"role": "assistant", "content": SO}]}, turns="any")[0].prompt == "u0"
    assert asked({"messages": chat}) == [Asked(None, "a.jsonl:1", (U("u0"), A("a0")), "u1")]


def test_a_question_to_be_answered_by_calls_is_no_prompt():
    calls = {"query": "p", "answers": [{"name": "f", "arguments": {}}], "tools": [{"name": "f"}]}
    assert asked(calls) == [Dropped("a.jsonl:1", "seed", TOOLS)]
