"""Formats of whole conversations, in which every message of the assistant is a reply."""

from collections.abc import Callable, Sequence

from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Values, exchanges_of
from selfreward_ray.seed.readers.reading import LeftOut, Reading
from selfreward_ray.seed.readers.tools import TOOL_COLUMNS, TOOLS, declared_tools
from selfreward_ray.seed.readers.values import conversation


def _chat(name: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """Rows with their messages in the column `name`, and perhaps with tools."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        tools = declared_tools(values)
        if tools and reading.asks_only:
            raise LeftOut(TOOLS)
        return exchanges_of(conversation(values.get(name), name, reading, tools=not reading.asks_only), tools)

    return exchanges


CHATS = (
    Format("chat", ("messages",), _chat("messages"), used=TOOL_COLUMNS, irrelevant=("prompt", "data_type")),
    Format("sharegpt", ("conversations",), _chat("conversations"), used=TOOL_COLUMNS),
    Format("conversation", ("conversation",), _chat("conversation"), used=TOOL_COLUMNS),
)
