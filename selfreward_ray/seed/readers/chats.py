"""Formats of whole conversations, in which every message of the assistant is a reply."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from selfreward_ray.seed.readers.beside import check_beside
from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Values, exchanges_of
from selfreward_ray.seed.readers.messages import conversation
from selfreward_ray.seed.readers.reading import LeftOut, Reading
from selfreward_ray.seed.readers.tools import TOOL_COLUMNS, TOOLS, declared_tools
from selfreward_ray.seed.readers.values import thoughts_of

_THOUGHTS = ("thought", "thoughts")
"""Columns of our own exports; of others it is not known whose thoughts they are."""
_USED = (*_THOUGHTS, *TOOL_COLUMNS)


def _chat(name: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """Rows with their messages in the column `name`, and perhaps with tools."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        tools = declared_tools(values)
        if tools and reading.asks_only:
            raise LeftOut(TOOLS)
        spoken = conversation(values.get(name), name, reading, tools=not reading.asks_only)
        check_beside(spoken, values)
        answers = sum(one.role == "assistant" for one in spoken)
        thoughts = iter(thoughts_of(values, answers, _THOUGHTS) if answers else ())
        thoughtful = [
            replace(one, thought=next(thoughts) or one.thought) if one.role == "assistant" else one for one in spoken
        ]
        return exchanges_of(thoughtful, tools)

    return exchanges


CHATS = (
    Format("chat", ("messages",), _chat("messages"), used=_USED, irrelevant=("prompt", "data_type", "kind")),
    Format("sharegpt", ("conversations",), _chat("conversations"), used=_USED),
    Format("conversation", ("conversation",), _chat("conversation"), used=_USED),
)
