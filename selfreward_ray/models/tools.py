"""Conversations with tools as chat templates take them, and whether a template shows all of it.

Templates differ in how they take the arguments of a call: most as an object, which they write as JSON or field by
field, some as a JSON text, which they write as it is. Both are rendered to find out how a template takes them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from selfreward_ray.models.spelling import Spelled
from selfreward_ray.models.template import ChatTemplate, Message, TurnsRefused
from selfreward_ray.records import ToolCall, ToolUse, Turn

Arguments = Literal["object", "text"]
"""How the arguments of a call are given to a template."""
_FORMS: tuple[Arguments, ...] = ("object", "text")

PROBE = ToolUse(
    json.dumps(
        [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "description": "Looks a word up.",
                    "parameters": {
                        "type": "object",
                        "properties": {"word": {"type": "string", "description": "What to look up."}},
                        "required": ["word"],
                    },
                },
            }
        ]
    ),
    (
        Turn("assistant", "", (ToolCall("look_up", '{"word": "kelp"}', "call00001"),)),
        Turn("tool", "It grows in the sea.", tool="look_up", call_id="call00001"),
    ),
)
"""A small conversation that is rendered to find out whether a template shows tools."""


def as_message(turn: Turn, arguments: Arguments) -> Message:
    """A turn as templates take it, in the form of OpenAI's API."""
    message: Message = {"role": turn.role, "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [_call(call, arguments) for call in turn.calls]
    if turn.tool:
        message["name"] = turn.tool
    if turn.call_id:
        message["tool_call_id"] = turn.call_id
    return message


def _call(call: ToolCall, arguments: Arguments) -> dict[str, Any]:
    given = call.arguments if arguments == "text" else json.loads(call.arguments)
    name = {"id": call.id} if call.id else {}
    return name | {"type": "function", "function": {"name": call.name, "arguments": given}}


def declared(tools: str) -> list[Any]:
    """The tools of `ToolUse.tools`."""
    return list(json.loads(tools)) if tools else []


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with each text in it changed, the names of fields too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): mapped(item, change) for name, item in value.items()}
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Each text in a value of JSON, the names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts_in(item)


def shows_text(text: str, rendered: str) -> bool:
    """Whether `text` is in the rendering as it is, or as it stands in JSON."""
    text = text.strip()
    return any(form in rendered for form in (text, *(json.dumps(text, ensure_ascii=a)[1:-1] for a in (False, True))))


def shows_calls(message: Message, rendered: str) -> bool:
    """Whether the names and the arguments of all calls of a message are in the rendering."""
    for call in message.get("tool_calls", ()):
        function = call["function"]
        given = function["arguments"]
        said = [given] if isinstance(given, str) else [*map(_written, _leaves(given)), *texts_in(given)]
        if not all(shows_text(each, rendered) for each in (function["name"], *said)):
            return False
    return True


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _written(number: Any) -> str:
    return json.dumps(number)


def uses_tools(messages: Sequence[Message], tools: Sequence[Any]) -> bool:
    return bool(tools) or any(message["role"] == "tool" or "tool_calls" in message for message in messages)


def stand_ins(
    messages: Sequence[Message], tools: Sequence[Any], fresh: Callable[[], str]
) -> tuple[list[Message], list[Any], list[str]]:
    """The conversation with a `fresh` text in the place of each tool's name and description, of each call's name and
    arguments, and of each result; and these texts. A template that shows all of them leaves nothing out.

    The texts themselves may occur elsewhere: an argument is often a word of the user's.
    """
    used: list[str] = []

    def another() -> str:
        used.append(fresh())
        return used[-1]

    def tool_of(tool: Any) -> Any:
        if isinstance(tool.get("function"), dict):
            return tool | {"function": tool_of(tool["function"])}
        return tool | {key: another() for key in ("name", "description") if isinstance(tool.get(key), str)}

    def call_of(call: Any) -> Any:
        given: Any = {another(): another()}
        given = json.dumps(given, ensure_ascii=False) if isinstance(call["function"]["arguments"], str) else given
        return call | {"function": {"name": another(), "arguments": given}}

    def message_of(message: Message) -> Message:
        if message["role"] == "tool":
            return message | {"content": another()}
        calls = message.get("tool_calls")
        return message if calls is None else message | {"tool_calls": [call_of(call) for call in calls]}

    return [message_of(message) for message in messages], [tool_of(tool) for tool in tools], used


def shows_all(
    template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Any], fresh: Callable[[], str]
) -> bool:
    """Whether the template writes all that a conversation has of tools: what is declared, called and returned."""
    others, other_tools, used = stand_ins(messages, tools, fresh)
    rendered = template.render(others, prompt=messages[-1]["role"] != "assistant", tools=other_tools)
    return all(shows_text(text, rendered) for text in used)


def arguments_form(template: ChatTemplate) -> Arguments | None:
    """How the template takes arguments; None if it leaves out tools, calls or results in either form."""
    turns = [Turn("user", "What is it?"), *PROBE.since, Turn("assistant", "A plant.")]
    tools, given = declared(PROBE.tools), PROBE.since[0].calls[0].arguments
    twisted = (str(json.loads(given)), json.dumps(given))  # an object in Python's form, JSON as a text in JSON
    for form in _FORMS:
        messages = [as_message(turn, form) for turn in turns]
        try:
            rendered = template.render(messages, prompt=False, tools=tools)
            if shows_all(template, messages, tools, Spelled(()).fresh) and not any(one in rendered for one in twisted):
                return form
        except TurnsRefused:
            continue
    return None
