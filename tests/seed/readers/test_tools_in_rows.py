"""Conversations with tools, in the shapes that data sets have: kept whole for SFT, or left out with the reason."""

import json
from typing import Any

import pytest

from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, RankedSet, ToolCall, ToolUse, Turn
from selfreward_ray.seed.readers import Reading, read_asked
from selfreward_ray.seed.readers.messages import OTHER_CALLER
from selfreward_ray.seed.readers.rows import NOT_FIRST, OUT_OF_TURN, UNANSWERED
from selfreward_ray.seed.readers.tools import BAD_CALL, BAD_TOOLS, IN_PARTS, LONE_SURROGATE, NO_CALL, TOOLS
from selfreward_ray.store.user_files import Row

ASKED = {"role": "user", "content": "Rain?"}
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = ToolCall("weather", '{"town": "Oslo"}', "c1")
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Oslo"}'}},
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "dry"}
RETURNED = Turn("tool", "dry", tool="weather", call_id="c1")
SAID = {"role": "assistant", "content": "No."}
CHAT = [ASKED, CALLED, RESULT, SAID]
DECLARED = json.dumps([TOOL])


def kept(found: list[Any]) -> list[RankedSet]:
    assert all(isinstance(one, RankedSet) for one in found), found
    return found


def test_a_call_and_what_follows_its_result_are_replies_to_the_prompt(read):
    for turns in ("first", "any"):
        called, said = kept(read({"messages": CHAT, "tools": [TOOL]}, turns=turns))
        assert [(one.id, one.prompt, one.history) for one in (called, said)] == [
            ("seed/000000/t0", "Rain?", ()),
            ("seed/000000/t1", "Rain?", ()),
        ]
        assert {called.conversation, said.conversation} == {"seed/000000"}
        assert called.tool_use == ToolUse(DECLARED, calls=(CALL,))
        assert said.tool_use == ToolUse(DECLARED, since=(Turn("assistant", "", (CALL,)), RETURNED))
        assert [[(reply.text, reply.rank) for reply in one.replies] for one in (called, said)] == [
            [("", 0)],
            [("No.", 0)],
        ]


def test_earlier_calls_are_the_history_of_a_later_prompt(read):
    row = {"messages": [{"role": "system", "content": "Be brief."}, *CHAT, {**ASKED, "content": "Snow?"}, SAID]}
    *_, last = kept(read(row, turns="any"))
    assert last.prompt == "Snow?"
    assert last.history == (
        Turn("system", "Be brief."),
        Turn("user", "Rain?"),
        Turn("assistant", "", (CALL,)),
        RETURNED,
        Turn("assistant", "No."),
    )
    assert last.tool_use == ToolUse()
    *first, dropped = read(row)
    assert [one.id for one in kept(first)] == ["seed/000000/t0", "seed/000000/t1"]
    assert dropped == Dropped("seed/000000/t2", "seed", NOT_FIRST)


SHAREGPT = [
    {"from": "human", "value": "Rain?"},
    {"from": "function_call", "value": '{"name": "weather", "arguments": {"town": "Oslo"}}'},
    {"from": "observation", "value": "dry"},
    {"from": "gpt", "value": "No."},
]
LEGACY = [
    ASKED,
    {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"town": "Oslo"}'}},
    {"role": "function", "name": "weather", "content": "dry"},
    SAID,
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT, "tools": [TOOL]},
        {"messages": json.dumps(CHAT), "tools": json.dumps([TOOL])},
        {"messages": [ASKED, {**CALLED, "content": ""}, RESULT, SAID], "tools": [FUNCTION]},
        {"messages": [ASKED, {**CALLED, "tool_calls": json.dumps(CALLED["tool_calls"])}, RESULT, SAID], "tools": TOOL},
        {"messages": LEGACY, "functions": [FUNCTION]},
        {"conversations": SHAREGPT, "tools": json.dumps([FUNCTION])},
        {"conversations": SHAREGPT, "tools": [json.dumps(FUNCTION)]},
    ],
)
def test_tools_are_read_in_every_shape(read, row: dict[str, Any]):
    called, said = kept(read(row))
    assert called.tool_use is not None
    assert said.tool_use is not None
    assert called.tool_use.tools == said.tool_use.tools == DECLARED
    (call,) = called.tool_use.calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"town": "Oslo"})
    asked, result = said.tool_use.since
    assert asked.calls == (call,)
    assert (result.role, result.text) == ("tool", "dry")
    assert [reply.text for reply in said.replies] == ["No."]


def test_a_row_of_xlam_is_a_question_with_its_calls(read):
    """Two calls are one reply; a question without any gives none."""
    calls = [{"name": "weather", "arguments": {"town": town}} for town in ("Oslo", "Bergen")]
    row = {"query": "Rain?", "answers": json.dumps(calls), "tools": json.dumps([FUNCTION])}
    found, none = read(row, {**row, "answers": "[]"})
    assert (found.id, found.prompt, found.conversation) == ("seed/000000", "Rain?", None)
    expected = tuple(ToolCall("weather", json.dumps(call["arguments"])) for call in calls)
    assert found.tool_use == ToolUse(DECLARED, calls=expected)
    assert none == Dropped("seed.jsonl:2", "seed", "every reply is empty")


def test_arguments_in_a_text_stay_as_they_are_written(read):
    for written, expected in (
        ('{ "town":"Oslo", "day": null }', '{ "town":"Oslo", "day": null }'),
        ({"town": "Oslo", "day": None, "at": [1.5, {"x": None}]}, '{"town": "Oslo", "at": [1.5, {}]}'),
        (None, "{}"),
        ("", "{}"),
    ):
        call = {"function": {"name": "weather", "arguments": written}}
        (found,) = kept(read({"messages": [ASKED, {"role": "assistant", "tool_calls": [call]}]}))
        assert found.tool_use == ToolUse(calls=(ToolCall("weather", expected),))


def test_a_text_beside_calls_and_several_calls_are_kept(read):
    several = {**CALLED, "content": "I look.", "tool_calls": CALLED["tool_calls"] * 2}
    first, last = kept(read({"messages": [ASKED, several, RESULT, {**RESULT, "content": ""}, SAID]}))
    assert first.replies[0].text == "I look."
    assert first.tool_use is not None
    assert first.tool_use.calls == (CALL, CALL)
    assert last.tool_use == ToolUse(
        since=(Turn("assistant", "I look.", (CALL, CALL)), RETURNED, Turn("tool", "", tool="weather", call_id="c1"))
    )


def test_tools_that_a_conversation_does_not_use_are_declared_all_the_same(read):
    (found,) = kept(read({"messages": [ASKED, SAID], "tools": [TOOL]}))
    assert found.tool_use == ToolUse(DECLARED)
    (plain,) = kept(read({"messages": [ASKED, SAID], "tools": "[]"}))
    assert plain.tool_use is None


def test_a_call_without_weight_is_not_trained_on(read):
    dropped, said = read({"messages": [ASKED, {**CALLED, "weight": 0}, RESULT, SAID]})
    assert dropped == Dropped("seed/000000/t0", "seed", "reply has weight 0")
    assert [reply.text for reply in said.replies] == ["No."]


def asking(**function: Any) -> list[dict[str, Any]]:
    return [ASKED, {"role": "assistant", "tool_calls": [{"function": function}]}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [ASKED, SAID, RESULT, SAID]}, NO_CALL),
        ({"messages": [ASKED, RESULT, SAID]}, NO_CALL),
        ({"messages": [ASKED, CALLED, SAID]}, OUT_OF_TURN),
        ({"messages": [ASKED, CALLED, ASKED, SAID]}, OUT_OF_TURN),
        ({"messages": [ASKED, CALLED, RESULT, ASKED, SAID]}, OUT_OF_TURN),
        ({"messages": [{**CALLED, "role": "user"}, SAID]}, OTHER_CALLER),
        ({"messages": asking(arguments="{}")}, BAD_CALL),
        ({"messages": asking(name=" ", arguments="{}")}, BAD_CALL),
        ({"messages": asking(name="f", arguments="[1]")}, BAD_CALL),
        ({"messages": asking(name="f", arguments="{'a': 1}")}, BAD_CALL),
        ({"messages": asking(name="f", arguments=[1])}, BAD_CALL),
        ({"messages": asking(name="f", arguments='{"a": "\\ud800"}')}, LONE_SURROGATE),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [{"type": "custom", "name": "f"}]}]}, BAD_CALL),
        ({"messages": [ASKED, {"role": "function_call", "content": "weather()"}]}, BAD_CALL),
        ({"messages": CHAT, "tools": "weather"}, BAD_TOOLS),
        ({"messages": CHAT, "tools": [{"description": "x"}]}, BAD_TOOLS),
        ({"messages": CHAT, "tools": [{**TOOL, "note": "\ud800"}]}, LONE_SURROGATE),
        ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "tool_use", "id": "c"}]}]}, IN_PARTS),
        ({"messages": [{"role": "system", "content": "a", "tools": [TOOL]}, ASKED, SAID]}, TOOLS),
        ({"prompt": "Rain?", "chosen": CHAT[1:], "rejected": [SAID]}, TOOLS),
        ({"prompt": "Rain?", "chosen": "a", "rejected": "b", "tools": [TOOL]}, TOOLS),
        ({"prompt": CHAT[:3], "completion": "a", "label": True}, TOOLS),
        ({"instruction": "Rain?", "output": "No.", "tools": json.dumps([TOOL])}, TOOLS),
    ],
)
def test_what_cannot_be_read_is_left_out_with_its_reason(read, row: dict[str, Any], reason: str):
    found = read(row)
    assert set(found) <= {Dropped("seed.jsonl:1", "seed", reason)}
    assert found


def test_a_conversation_that_ends_with_a_result_keeps_its_calls(read):
    called, dropped = read({"messages": CHAT[:3]})
    assert called.tool_use == ToolUse(calls=(CALL,))
    assert dropped == Dropped("seed/000000/t1", "seed", UNANSWERED)


def test_long_arguments_count_as_text(read):
    (found,) = read({"messages": asking(name="f", arguments={"a": "b" * 99})}, max_characters=99)
    assert found.reason == "every reply is longer than seed_data.max_characters"
    long = {**RESULT, "content": "b" * 100}
    _, found = read({"messages": [ASKED, CALLED, long, SAID]}, max_characters=99)
    assert found.reason == "a message between the prompt and the reply is longer than seed_data.max_characters"


@pytest.mark.parametrize(
    "row",
    [{"messages": CHAT}, {"messages": [ASKED], "tools": [TOOL]}, {"query": "Rain?", "answers": "[]", "tools": [TOOL]}],
)
def test_a_prompt_with_tools_is_left_out(row: dict[str, Any]):
    (dropped,) = read_asked([Row("p:1", row)], Reading.of_prompts(RowReading()))
    assert dropped == Dropped("p:1", "seed", TOOLS)
