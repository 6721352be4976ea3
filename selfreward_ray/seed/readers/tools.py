"""Read tools from the rows of a source: their declarations, calls and results.

Calls are OpenAI's ``tool_calls`` and ``function_call``, or JSON in a message of ShareGPT's role ``function_call``.
Fields that are null in an object are left out: tables fill in those that other rows have. In a JSON text they stay.
"""

import json
from typing import Any

from selfreward_ray.records import ToolCall
from selfreward_ray.seed.readers.exchanges import Values
from selfreward_ray.seed.readers.reading import BadRow

TOOLS = "it uses tools, which only chats for SFT can have"
IN_PARTS = "its tools are used in parts of messages, which are not read"
NO_CALL = "a tool's result follows no call that is read"
BAD_CALL = "a call of a tool has no name, or its arguments are no JSON object"
BAD_TOOLS = "its tools are not a list of objects with a name"
LONE_SURROGATE = "its tools hold a lone surrogate"

TOOL_COLUMNS = ("tools", "functions")
TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")
CALL_ROLES = ("function_call", "tool_call", "function-call")
RESULT_ROLES = ("tool", "function", "observation", "function_response", "tool_response", "function-response", "ipython")
NO_TOOLS = ("", "[]", "{}", "null")
"""Texts of columns that declare no tools, as in a CSV file."""


def declared_tools(values: Values) -> str:
    """The tools that a row declares, as `ToolUse.tools`; a tool without ``type`` is given the form of OpenAI's API."""
    for name in TOOL_COLUMNS:
        given = values.get(name)
        if isinstance(given, str):
            given = None if given.strip() in NO_TOOLS else _parsed(given, BAD_TOOLS)
        else:
            given = _filled(given)
        if given:
            tools = [_tool(tool) for tool in (given if isinstance(given, list) else [given])]
            return as_json(tools)
    return ""


def _tool(tool: Any) -> Any:
    if isinstance(tool, str):
        tool = _parsed(tool, BAD_TOOLS)
    if not isinstance(tool, dict):
        raise BadRow(BAD_TOOLS)
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(BAD_TOOLS)
    return tool if "function" in tool else {"type": "function", "function": tool}


def calls_of(item: Values) -> tuple[ToolCall, ...]:
    """The calls of a message."""
    given = item.get("tool_calls") or item.get("function_call")
    return calls_in(given) if given else ()


def calls_in(given: Any) -> tuple[ToolCall, ...]:
    """The calls of a JSON text, an object or a list."""
    if isinstance(given, str):
        given = _parsed(given, BAD_CALL)
    return tuple(map(_call, given if isinstance(given, list) else [given]))


def _call(given: Any) -> ToolCall:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or given.get("type") not in (None, "function"):
        raise BadRow(BAD_CALL)
    name = function.get("name")
    arguments = function.get("arguments", function.get("parameters"))
    if not isinstance(name, str) or not name.strip():
        raise BadRow(BAD_CALL)
    if isinstance(arguments, str) and arguments.strip():
        parsed, written = _parsed(arguments, BAD_CALL), arguments
    else:
        parsed = _filled(arguments) or {}
        written = as_json(parsed)
    if not isinstance(parsed, dict):
        raise BadRow(BAD_CALL)
    as_json([name, parsed])
    return ToolCall(name, written, _name(given, "id"))


def result_of(item: Values) -> tuple[str, str]:
    """The name of the tool and the id of the call that a result is of; empty where the message has none."""
    return _name(item, "name"), _name(item, "tool_call_id")


def _name(item: Values, key: str) -> str:
    name = item.get(key)
    return name if isinstance(name, str) else ""


def _filled(value: Any) -> Any:
    """A value without fields that are null."""
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def _parsed(text: str, fault: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRow(fault) from None


def as_json(value: Any) -> str:
    """A value as JSON text in UTF-8."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(LONE_SURROGATE) from None
    except (TypeError, ValueError, RecursionError):  # dates in Parquet, for example
        raise BadRow(BAD_CALL) from None
    return text
