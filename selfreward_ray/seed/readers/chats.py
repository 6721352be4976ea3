"""Formats of whole conversations, in which every message of the assistant is a reply."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from selfreward_ray.seed.readers.beside import check_beside
from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Values, exchanges_of
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.seed.readers.values import conversation, thoughts_of

_THOUGHTS = ("thought", "thoughts")
"""Columns of our own exports; of others it is not known whose thoughts they are."""


def _chat(name: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """Rows with their messages in the column `name`."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        spoken = conversation(values.get(name), name, reading)
        check_beside(spoken, values)
        answers = sum(one.role == "assistant" for one in spoken)
        thoughts = iter(thoughts_of(values, answers, _THOUGHTS) if answers else ())
        return exchanges_of(
            [replace(one, thought=next(thoughts) or one.thought) if one.role == "assistant" else one for one in spoken]
        )

    return exchanges


CHATS = (
    Format("chat", ("messages",), _chat("messages"), used=_THOUGHTS, irrelevant=("prompt", "data_type", "kind")),
    Format("sharegpt", ("conversations",), _chat("conversations"), used=_THOUGHTS),
    Format("conversation", ("conversation",), _chat("conversation"), used=_THOUGHTS),
)
