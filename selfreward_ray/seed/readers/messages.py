"""Reads the messages of a conversation out of a row's columns: whose they are, their texts, thoughts and calls.

Whatever does not fit makes the row a bad one; reasons are as in `values`.
"""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selfreward_ray.seed.readers.drafts import Role
from selfreward_ray.seed.readers.exchanges import Spoken, Values
from selfreward_ray.seed.readers.media import MEDIA, is_media, note_key
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.tools import (
    CALL_ROLES,
    IN_PARTS,
    RESULT_ROLES,
    TOOL_KEYS,
    TOOLS,
    as_json,
    calls_in,
    calls_of,
    result_of,
)
from selfreward_ray.seed.readers.values import as_text, is_empty, items, optional_text, text

NO_MESSAGE = "a message has no role and text"
OTHER_CALLER = "a message that calls a tool is not the assistant's"
OTHER_PART = "a part of a message is of an unknown type"

SYSTEM = ("system", "system_prompt", "system_message")
"""Columns with the system message."""
ASKING = ("prompt", "question", "instruction", "query")
"""Columns with the prompt."""
CHATS = ("messages", "conversations", "conversation")
"""Columns with a whole conversation."""
_ROLE_KEYS = ("role", "from", "speaker")
_TEXT_KEYS = ("content", "value", "text")
_PAIR_KEYS = (("input", "output"), ("human", "assistant"), ("user", "assistant"), ("prompt", "response"))
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TRAINED_KEYS = ("weight", "train", "train_on_turn", "training", "loss", "loss_mask", "trainable", "output_with_loss")
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
_OTHER_KEYS = (
    "id", "message_id", "timestamp", "created_at", "model", "prefix", "refusal", "annotations", "lang", "num_tokens",
)  # fmt: skip
_TEXT_PARTS = (None, "text", "input_text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning")
_MEDIA_PARTS = ("file", "input_file", "document")
_NO_INPUT = re.compile(r"\s*<\s*no[ _-]?input\s*>\s*", re.IGNORECASE)
"""What stands for an empty input in data that were made as Self-Instruct's."""
_TOOL_PARTS = ("tool_use", "tool_result", "tool_call")


def conversation(value: object, name: str, reading: Reading, tools: bool = False) -> list[Spoken]:
    """The messages of the column `name`: objects with a role and a text, or pairs of the two; pairs of a question and
    its answer; or texts in turns. Raises `LeftOut` for what is no text, and for tools unless `tools` allows them."""
    if isinstance(value, dict):
        value = [value]
    if value is not None and not isinstance(value, list):
        raise BadRow(f"field {name!r} is not a list of messages")
    found: list[Spoken] = []
    given = items({name: value}, name)
    if all(_is_role_and_text(item, reading) for item in given):
        given = [{"role": role, "content": said} for role, said in given]
    for item in given:
        if isinstance(item, str):
            found.append(Spoken("assistant" if len(found) % 2 else "user", item))
        elif isinstance(item, list):
            found += _pair(item, name)
        elif isinstance(item, dict):
            found += _message(item, name, reading)
        else:
            raise BadRow(f"field {name!r} is not a list of messages")
    if not tools and any(one.uses_tools for one in found):
        raise LeftOut(TOOLS)
    return found


def asked(values: Values, reading: Reading, names: Sequence[str] = ASKING, further: Sequence[str] = ()) -> list[Spoken]:
    """The messages that a reply answers, from the first of the columns `names` that a row has: a text, or messages.

    The columns ``input`` and `further` are appended to a text after a blank line. Raises `RowError` where two of the
    columns say different things.
    """
    there = [name for name in names if not is_empty(values.get(name))]
    if not there:
        name = next((name for name in names if name in values), names[0])
        if values.get(name) in ([], {}):
            raise BadRow(f"field {name!r} is empty")
        return [Spoken("user", text(values, name))]
    name, *others = there
    for other in others:
        if values[other] != values[name]:
            raise reading.refuse(other, f"stands beside {name!r}, and either may be the prompt")
    if not isinstance(values[name], str):
        if not is_empty(values.get("input")):
            raise reading.refuse("input", f"stands beside messages in {name!r}", "write it into a message")
        return conversation(values[name], name, reading)
    parts = [values[name], *(optional_text(values, more) for more in ("input", *further))]
    said = [part for part in parts if part.strip() and not _NO_INPUT.fullmatch(part)]
    return [Spoken("user", "\n\n".join(said) if parts[0].strip() else "")]


def prompt_of(values: Values, reading: Reading) -> list[Spoken]:
    """The messages that a reply answers, as `asked` reads them, or from a column of messages where no other asks."""
    chat = next((name for name in CHATS if not is_empty(values.get(name))), None)
    if chat is None or any(not is_empty(values.get(name)) for name in ASKING):
        return asked(values, reading)
    return conversation(values[chat], chat, reading)


def opening(values: Values, used: Sequence[str], reading: Reading) -> list[Spoken]:
    """What the columns ``system`` and ``history`` say before the messages of a row, unless they are `used` otherwise.

    A system message is a text, or the parts of one. Turns of a history are pairs of texts, or messages.
    """
    there = [name for name in SYSTEM if name not in used and not is_empty(values.get(name))]
    given = {name: _content(values[name], name)[0] for name in there}
    systems = [name for name, said in given.items() if said.strip()]
    for other in systems[1:]:
        if given[other] != given[systems[0]]:
            raise reading.refuse(other, f"stands beside {systems[0]!r}, and either may be the system message")
    found = [Spoken("system", given[name]) for name in systems[:1]]
    if "history" not in used and not is_empty(values.get("history")):
        found += conversation(values["history"], "history", reading)
    return found


def _pair(pair: list[Any], name: str) -> list[Spoken]:
    if len(pair) != 2:
        raise BadRow(f"field {name!r} is not a list of pairs")
    question, answer = (as_text(said, name) for said in pair)
    return [Spoken("user", question), Spoken("assistant", answer)]


def _is_role_and_text(item: object, reading: Reading) -> bool:
    """Whether a pair is a role and its text, and not a question and its answer."""
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
        return False
    return reading.meaning("role", item[0].strip().lower()) in {*ROLES, *CALL_ROLES, *RESULT_ROLES}


def _exchange(item: Values, question: str, answer: str, name: str, reading: Reading) -> list[Spoken]:
    """An object with a question and its answer, and perhaps the system message before them."""
    _note_others(item, (question, answer, "system"), name, reading)
    asked, said = _pair([item[question], item[answer]], f"{name}.{question}")
    said = replace(said, trained=_trained(item, name, reading), thought=_thought(item, name, reading))
    system = optional_text(item, "system")
    return [*([Spoken("system", system)] if system.strip() else []), asked, said]


def role_of(said: str, reading: Reading) -> Role:
    """Whose message it is, by the recipe's ``values`` or by its usual name. Raises `BadRow`."""
    named = reading.meaning("role", said.strip().lower())
    if named not in ROLES:
        shown = reprlib.repr(said.strip())
        raise BadRow(
            f"a message has the unknown role {shown}; {reading.section}.values={{role: {{{shown}: user}}}} says whose "
            "it is: the system's, the user's or the assistant's"
        )
    return ROLES[named]


def _message(item: Values, name: str, reading: Reading) -> list[Spoken]:
    role_key = next((key for key in reading.key("role", _ROLE_KEYS) if item.get(key) is not None), None)
    if role_key is None:
        for question, answer in _PAIR_KEYS:
            if question in item and answer in item:
                return _exchange(item, question, answer, name, reading)
        raise BadRow(NO_MESSAGE)
    if not is_empty(item.get("tools")):
        raise LeftOut(TOOLS)
    named = as_text(item[role_key], f"{name}.{role_key}")
    said = reading.meaning("role", named.strip().lower())
    role = "assistant" if said in CALL_ROLES else "tool" if said in RESULT_ROLES else role_of(named, reading)
    text_keys = [key for key in reading.key("content", _TEXT_KEYS) if key in item]
    calls = calls_of(item)
    if not text_keys and not calls:
        raise BadRow(NO_MESSAGE)
    text_key = next((key for key in text_keys if item[key] is not None), text_keys[0] if text_keys else "")
    if role == "tool":
        return [_result(item, role_key, text_key, name, reading)]
    _note_others(item, (role_key, text_key), name, reading)
    if said in CALL_ROLES and not calls:
        content, thought, calls = "", "", calls_in(item[text_key])
    elif calls and item.get(text_key) is None:
        content, thought = "", ""
    else:
        content, thought = _content(item[text_key], f"{name}.{text_key}")
    if calls and role != "assistant":
        raise BadRow(OTHER_CALLER)
    thought = _thought(item, name, reading) or thought
    return [Spoken(role, content, _trained(item, name, reading), thought, calls)]


def _result(item: Values, role_key: str, text_key: str, name: str, reading: Reading) -> Spoken:
    """What a tool returned: a text, or an object, which is written as JSON."""
    _note_others(item, (role_key, text_key, "name"), name, reading)
    value = item[text_key]
    content = as_json(value) if isinstance(value, dict) else _content(value, f"{name}.{text_key}")[0]
    tool, call_id = result_of(item)
    return Spoken("tool", content, tool=tool, call_id=call_id)


def _thought(item: Values, name: str, reading: Reading) -> str:
    """What a message says was thought before its text, in the first of the keys that have it."""
    named = [key for key in THOUGHT_KEYS if f"{name}.{key}" not in reading.wanted.ignore]
    return next((thought for key in named if (thought := optional_text(item, key))), "")


def _content(value: object, name: str) -> tuple[str, str]:
    """The text of a message and its thought; parts of each are joined by line ends."""
    if not isinstance(value, list):
        return as_text(value, name), ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _MEDIA_PARTS or (isinstance(kind, str) and is_media(kind, kind)):
            raise LeftOut(MEDIA)
        if isinstance(part, dict) and any(is_media(key, inner) for key, inner in part.items()):
            raise LeftOut(MEDIA)
        if kind in _TOOL_PARTS:
            raise LeftOut(IN_PARTS)
        if kind in _THOUGHT_PARTS:
            thoughts.append(as_text(part.get(kind, part.get("text")), f"{name}.{kind}"))
        elif kind in _TEXT_PARTS:
            texts.append(as_text(part.get("text") if isinstance(part, dict) else part, f"{name}.text"))
        else:
            raise BadRow(OTHER_PART)
    return "\n".join(texts), "\n".join(thoughts)


def _trained(item: Values, name: str, reading: Reading) -> bool:
    """Whether a message may be learned from: all its marks are 1 or true, or are not there."""
    for key in _TRAINED_KEYS:
        value = item.get(key)
        column = f"{name}.{key}"
        if value is None or column in reading.wanted.ignore:
            continue
        if value not in (0, 1):
            raise reading.refuse(column, "is neither 0 nor 1, and replies are trained on alike", "write 0 or 1")
        if not value:
            return False
    return True


def _note_others(item: Values, used: Sequence[str], name: str, reading: Reading) -> None:
    known = {*used, *TOOL_KEYS, *_TRAINED_KEYS, *THOUGHT_KEYS, *_OTHER_KEYS}
    for key, value in item.items():
        if not is_empty(value) and key not in known:
            note_key(key, value, name, reading)
