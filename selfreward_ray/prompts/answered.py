"""Prompts with replies that users give: AlpacaEval's outputs, generations of any model, chats that end with a reply.

Replies stand in one of `REPLY_COLUMNS`, as a text or as a list of texts, or are the last message of a chat. What they
answer is read as in every other format: a prompt, an instruction with its input, a system text, earlier messages.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.drafts import message
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken, Values
from selfreward_ray.seed.readers.reading import BadRow, Reading
from selfreward_ray.seed.readers.rows import read_row
from selfreward_ray.seed.readers.values import ASKING, THOUGHT_KEYS, as_text, asked, conversation, is_empty
from selfreward_ray.store.user_files import Row
from selfreward_ray.thought import THINK, with_thought

REPLY_COLUMNS = (
    "reply", "replies", "response", "responses", "generation", "generations", "completion", "completions", "output",
    "outputs", "answer", "answers",
)  # fmt: skip
CHAT_COLUMNS = ("messages", "conversations", "conversation")
NO_REPLY = "it has no reply"
NOT_THE_LAST = "its last message is not the assistant's"
NOT_ONE_REPLY = "messages in the place of a reply are not one message of the assistant"
OTHER_THOUGHTS = "its thoughts are not texts, one for each reply"
NO_TRUTH = "field 'finished' is neither true nor false"

_ENDS = ("finished", "finish_reason", "stop_reason", "truncated")
_TEXT_KEYS = ("text", "content", "response", "reply", "answer", "completion", "output", "generated_text", "value")


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt with at least one reply. `where` names the row's file and line. A reply may be empty, as models write
    such replies, and begins with its thought if it has one."""

    where: str
    history: tuple[Turn, ...]
    prompt: str
    replies: tuple[str, ...]
    finished: bool
    """Whether the model ended its replies. A row that does not say so is taken to be complete."""


def read_answered(rows: Iterable[Row], reading: Reading) -> Iterator[AnsweredPrompt | Dropped]:
    """The prompts of `rows` with their replies, in order. A row that cannot be used is `Dropped`, with file and line as
    its id.

    Raises `RowError` for a row of which two columns may be the prompt, or two the reply, and where more rows are bad
    than the recipe allows.
    """
    rows = iter(rows)
    first = list(islice(rows, 1))
    reading.format = _REPLIES.name
    reading.check_columns(first, _REPLIES.fields)
    for row in chain(first, rows):
        found = read_row(row, _REPLIES, reading)
        yield found if isinstance(found, Dropped) else _answered(*found, row.where, reading)
    reading.check_share()


def _answered(values: Values, exchanges: Sequence[Exchange], where: str, reading: Reading) -> AnsweredPrompt | Dropped:
    (exchange,) = exchanges
    limit = reading.wanted.max_characters
    *earlier, prompt = (message(one.role, one.text, limit) for one in exchange.before)
    for one, what in [(prompt, "prompt"), *((one, "a message before the prompt") for one in earlier)]:
        if one.fault:
            return Dropped(where, "seed", f"{what} {one.fault}")
    replies = [message("assistant", one.text, limit) for one in exchange.replies]
    for one in replies:
        if one.fault and one.turn.text.strip():
            return Dropped(where, "seed", f"reply {one.fault}")
    try:
        thoughts = _thoughts(values, exchange)
    except BadRow as error:
        return reading.bad(str(error))
    if values.get("finished") not in (None, True, False):
        return reading.bad(NO_TRUTH)
    texts = tuple(
        with_thought(thought, one.turn.text, THINK) if thought else one.turn.text
        for one, thought in zip(replies, thoughts, strict=True)
    )
    finished = values.get("finished") is not False and not _cut_off(values)
    return AnsweredPrompt(where, tuple(one.turn for one in earlier), prompt.turn.text, texts, finished)


def _thoughts(values: Values, exchange: Exchange) -> list[str]:
    """The thought before each reply: of its message, or of a column. A list has one for each reply, or for each of the
    assistant's messages."""
    held = next((values[name] for name in THOUGHT_KEYS if not is_empty(values.get(name))), None)
    count = len(exchange.replies)
    if held is None:
        return [one.thought for one in exchange.replies]
    each = held if isinstance(held, list) else [held]
    if count == 1:
        each = each[-1:]
    if len(each) != count or not all(one is None or isinstance(one, str) for one in each):
        raise BadRow(OTHER_THOUGHTS)
    return [one or given.thought for one, given in zip(each, exchange.replies, strict=True)]


def _cut_off(values: Values) -> bool:
    """Whether the row says that its reply was cut off, as servers of models say it."""
    said = {str(values.get(name)).lower() for name in ("finish_reason", "stop_reason")}
    return values.get("truncated") is True or not said.isdisjoint(("length", "max_tokens"))


def _said(values: Values, reading: Reading) -> list[Exchange]:
    held = [name for name in REPLY_COLUMNS if values.get(name) is not None]
    chats = [name for name in CHAT_COLUMNS if not is_empty(values.get(name))]
    for names, what in ((held, "the reply"), (chats, "the conversation")):
        if len(names) > 1:
            raise reading.refuse(names[1], f"stands beside {names[0]!r}, and either may be {what}")
    if not chats and not held:
        raise BadRow(NO_REPLY)
    if not chats:
        before = asked(values, reading, further=_further(values, reading))
        return [Exchange(tuple(before), tuple(map(Given, _texts(values[held[0]], held[0], reading))))]
    spoken = conversation(values[chats[0]], chats[0], reading)
    _check_beside(chats[0], spoken, values, reading)
    if held:
        return [Exchange(tuple(spoken), tuple(map(Given, _texts(values[held[0]], held[0], reading))))]
    if spoken[-1].role != "assistant":
        raise BadRow(NOT_THE_LAST)
    return [Exchange(tuple(spoken[:-1]), (Given(spoken[-1].text, thought=spoken[-1].thought),))]


def _check_beside(chat: str, spoken: Sequence[Spoken], values: Values, reading: Reading) -> None:
    """Raise `RowError` for a column that may be a part of the prompt, unless it repeats a message of the chat."""
    said = {one.text.strip() for one in spoken}
    for name in (*ASKING, "input", "context"):
        value = values.get(name)
        if not is_empty(value) and not (isinstance(value, str) and value.strip() in said):
            raise reading.refuse(name, f"stands beside {chat!r}, and is none of its messages")


def _further(values: Values, reading: Reading) -> tuple[str, ...]:
    """The column ``context`` belongs to an ``instruction``, as in Dolly; beside another prompt it may be anything."""
    if not is_empty(values.get("context")) and is_empty(values.get("instruction")):
        raise reading.refuse("context", "may belong to the prompt", "write it into the prompt")
    return ("context",)


def _texts(value: Any, name: str, reading: Reading) -> list[str]:
    """The replies of a column: a text, or a list of texts, of objects that hold one, or of one message."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | dict):
        raise BadRow(f"field {name!r} is neither a text nor a list of texts")
    each = value if isinstance(value, list) else [value]
    if not each:
        raise BadRow(f"field {name!r} is empty")
    if any(isinstance(one, dict) and not one.keys().isdisjoint(("role", "from")) for one in each):
        spoken = conversation(each, name, reading)
        if [one.role for one in spoken] != ["assistant"]:
            raise BadRow(NOT_ONE_REPLY)
        return [spoken[0].text]
    return [as_text(_text_in(one) if isinstance(one, dict) else one, name) for one in each]


def _text_in(item: Values) -> Any:
    return next((item[key] for key in _TEXT_KEYS if key in item), None)


_REPLIES = Format(
    name="replies",
    told_by=(),
    exchanges=_said,
    used=(*PROMPT, *REPLY_COLUMNS, *CHAT_COLUMNS, *THOUGHT_KEYS, "context", *_ENDS),
    irrelevant=("mean", "scores", "datasplit", "samples", "raw_output"),
    whole_replies=True,
)
