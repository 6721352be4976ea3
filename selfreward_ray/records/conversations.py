"""Messages of conversations, and what is left out of a step."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ToolCall:
    """An assistant's call of a tool."""

    name: str
    arguments: str
    """A JSON object, as text."""
    id: str = ""
    """By which a result names the call; empty if the source has none."""


@dataclass(frozen=True)
class Turn:
    """A message of a conversation. Only conversations with a `ToolUse` have calls and the role ``tool``."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[ToolCall, ...] = ()
    """What an assistant's message calls."""
    tool: str = ""
    """The name of the tool whose result the text is, if the source has it."""
    call_id: str = ""
    """The id of the call whose result the text is, if the source has it."""


@dataclass(frozen=True)
class ToolUse:
    """What a conversation with tools has beside its history, prompt and reply. Such conversations serve SFT alone."""

    tools: str = ""
    """The declared tools, a JSON list of objects as text; empty if the source declares none."""
    since: tuple[Turn, ...] = ()
    """The messages between the prompt and the reply: the assistant's calls and the tools' results."""
    calls: tuple[ToolCall, ...] = ()
    """What the reply calls. Its text may then be empty."""


def conversation_text(history: tuple[Turn, ...], prompt: str) -> str:
    """The text that a judge is shown: the earlier messages, if any, and the prompt."""
    if not history:
        return prompt
    turns = [*history, Turn("user", prompt)]
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


@dataclass(frozen=True)
class Dropped:
    """A row that a step dropped, and the reason. No row is dropped without one."""

    id: str
    step: str
    reason: str
