"""Prompts with replies that users give: AlpacaEval's outputs, generations of any model, chats that end with a reply.

Replies stand in one of `REPLY_COLUMNS`, as a text or as a list of texts, or are the last message of a chat. What they
answer is read as in every other format: a prompt, an instruction with its input, a system text, earlier messages.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.drafts import message
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken, Values
from selfreward_ray.seed.readers.messages import ASKING, CHATS, THOUGHT_KEYS, asked, conversation
from selfreward_ray.seed.readers.preferences import PREFERENCE
from selfreward_ray.seed.readers.reading import LOOKED_AT, BadRow, Reading
from selfreward_ray.seed.readers.rows import read_row
from selfreward_ray.seed.readers.values import ENDS, OTHER_THOUGHTS, as_text, is_cut_off, is_empty, items, thoughts_of
from selfreward_ray.seed.readers.votes import VOTE
from selfreward_ray.store.user_files import Row, RowError
from selfreward_ray.thought import THINK, with_thought

REPLY_COLUMNS = (
    "reply", "replies", "response", "responses", "generation", "generations", "completion", "completions", "output",
    "outputs", "answer", "answers",
)  # fmt: skip
NO_REPLY = "it has no reply"
NOT_THE_LAST = "its last message is not the assistant's"
NOT_ONE_REPLY = "messages in the place of a reply are not one message of the assistant"
OTHER_TURNS = "its answers are not as many as the turns of its question"
NO_TRUTH = "field 'finished' is neither true nor false"

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
    first = list(islice(rows, LOOKED_AT))
    sound = [row for row in first if row.fault is None][:1]
    form = next((form for form in _COMPARED if sound and form.fits(reading.named(sound[0]), filled=True)), _REPLIES)
    reading.format = form.name
    reading.check_columns(sound, form.fields)
    for row in chain(first, rows):
        found = read_row(row, form, reading)
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
    before = tuple(one.turn for one in earlier)
    return AnsweredPrompt(where, before, prompt.turn.text, texts, not is_cut_off(values))


def _thoughts(values: Values, exchange: Exchange) -> list[str]:
    """The thought before each reply: of its message, or of a column. A list has one for each reply, or for each of the
    assistant's messages."""
    count = len(exchange.replies)
    answers = count if count > 1 else 1 + sum(one.role == "assistant" for one in exchange.before)
    held = next((values[name] for name in THOUGHT_KEYS if not is_empty(values.get(name))), None)
    if count > 1 and isinstance(held, str):
        raise BadRow(OTHER_THOUGHTS)
    each = thoughts_of(values, len(held) if count == 1 and isinstance(held, list) else answers, THOUGHT_KEYS)
    return [one or given.thought for one, given in zip(each[-count:], exchange.replies, strict=True)]


def _of_a_benchmark(values: Values, reading: Reading) -> list[Exchange]:
    """An answer of MT-Bench beside the turns of its question. The reply is that to the last turn."""
    choices = values["choices"]
    if not isinstance(choices, list) or not isinstance(choices[0], dict) or "turns" not in choices[0]:
        raise reading.refuse("choices", "changes what a row means", "write it into the prompt")
    if is_empty(values.get("turns")):
        raise RowError(
            f"{reading.where}: an answer of MT-Bench names its question by question_id and does not hold it; write the "
            'turns of the question beside it: {"question_id": …, "turns": ["…"], "choices": […]}'
        )
    asks, answers = items(values, "turns"), items(choices[0], "turns")
    if len(asks) != len(answers):
        raise BadRow(OTHER_TURNS)
    said = [as_text(text, "turns") for turn in zip(asks, answers, strict=True) for text in turn]
    spoken = [Spoken("assistant" if i % 2 else "user", text) for i, text in enumerate(said)]
    return [Exchange(tuple(spoken[:-1]), (Given(spoken[-1].text),))]


def _said(values: Values, reading: Reading) -> list[Exchange]:
    if not is_empty(values.get("choices")):
        return _of_a_benchmark(values, reading)
    held = [name for name in REPLY_COLUMNS if values.get(name) is not None]
    chats = [name for name in CHATS if not is_empty(values.get(name))]
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
    used=(*PROMPT, *REPLY_COLUMNS, *CHATS, *THOUGHT_KEYS, "context", "turns", "choices", *ENDS),
    irrelevant=(
        "kind",
        "mean",
        "scores",
        "datasplit",
        "samples",
        "raw_output",
        "scorer_score",
        "scorer_maximum",
        "answer_id",
        "tstamp",
        "reference",
    ),
    whole_replies=True,
)
_COMPARED = tuple(replace(form, merged=None, ranks=True, whole_replies=True) for form in (PREFERENCE, VOTE))
"""Two replies that were compared before, such as our own pairs."""
