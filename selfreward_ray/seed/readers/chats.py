"""Formats of whole conversations, in which every message of the assistant is a reply."""

from collections.abc import Callable, Sequence

from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Values, exchanges_of
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.seed.readers.values import conversation


def _chat(name: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """Rows with their messages in the column `name`."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        return exchanges_of(conversation(values.get(name), name, reading))

    return exchanges


CHATS = (
    Format("chat", ("messages",), _chat("messages"), irrelevant=("prompt", "data_type")),
    Format("sharegpt", ("conversations",), _chat("conversations")),
    Format("conversation", ("conversation",), _chat("conversation")),
)
