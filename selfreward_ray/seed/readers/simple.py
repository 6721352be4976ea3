"""Rows that say all themselves: ranked sets, chats, preferences, instructions."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.drafts import NOT_FIRST, Draft, Message, Rank, Reply, Role, message, settle
from selfreward_ray.store.user_files import Fields, Filled, Row, RowError, parse

OTHER_ROLE = "a message is neither the system's, the user's nor the assistant's"
OUT_OF_TURN = "user and assistant do not take turns"
NO_LAST_REPLY = "the last message is not the assistant's"
OTHER_PROMPT = "chosen and rejected do not answer the same prompt"
SAME_TEXT = "chosen and rejected are the same"

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


class _LeftOut(Exception):
    """A row of the right form that gives no set; the message is the reason."""


class SimpleRow(Fields, ABC):
    """A row with an id of its own, if it has one. Each kind of row says what sets it holds."""

    # Hub data sets often number their rows.
    id: Annotated[Filled | None, BeforeValidator(lambda given: str(given) if type(given) is int else given)] = None

    @abstractmethod
    def drafts(self, set_id: str, options: SeedData) -> Sequence[Draft | Dropped]:
        """Raises `_LeftOut`."""


class _Response(Fields):
    model_config = ConfigDict(extra="forbid")

    text: str
    rank: Rank | None = None
    verdict: Filled | None = None
    score: FiniteFloat | None = None


class RankedRow(SimpleRow):
    """A prompt with ranked responses. Equal ranks are ties."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    responses: list[_Response] = Field(min_length=1)

    def drafts(self, set_id: str, options: SeedData) -> list[Draft]:
        limit = options.max_characters
        replies = (
            Reply(f"{set_id}/r{i}", message("assistant", r.text, limit), r.rank, r.score, r.verdict)
            for i, r in enumerate(self.responses)
        )
        return [Draft(set_id, message("user", self.prompt, limit), tuple(replies))]


class _ChatMessage(Fields):
    role: str
    content: str


class ChatRow(SimpleRow):
    """A conversation that ends with the assistant: of each exchange, or of the first alone, a set of one reply."""

    messages: list[_ChatMessage]

    def drafts(self, set_id: str, options: SeedData) -> Sequence[Draft | Dropped]:
        turns = _conversation(self.messages, options)
        replies = [i for i, turn in enumerate(turns) if turn.turn.role == "assistant"]
        if options.turns == "first":
            later = [Dropped(f"{set_id}/t{n}", "seed", NOT_FIRST) for n in range(1, len(replies))]
            return [_exchange(set_id, turns[: replies[0]], turns[replies[0]]), *later]
        return [_exchange(f"{set_id}/t{n}", turns[:i], turns[i], conversation=set_id) for n, i in enumerate(replies)]


def _said_by(role: str) -> Any:
    return BeforeValidator(lambda said: [{"role": role, "content": said}] if isinstance(said, str) else said)


class PreferenceRow(SimpleRow):
    """Two replies to one prompt, the better and the worse, as texts or as messages.

    Replies that begin with another message than the assistant's are whole conversations, the prompt included.
    """

    prompt: Annotated[list[_ChatMessage] | None, _said_by("user")] = None
    chosen: Annotated[list[_ChatMessage], _said_by("assistant")]
    rejected: Annotated[list[_ChatMessage], _said_by("assistant")]

    @model_validator(mode="after")
    def _prompted(self) -> "PreferenceRow":
        if self.prompt is None and not (_is_whole(self.chosen) and _is_whole(self.rejected)):
            raise ValueError("field 'prompt' is missing; add it, or give chosen and rejected as whole conversations")
        return self

    def drafts(self, set_id: str, options: SeedData) -> list[Draft]:
        *before, chosen = self._prompt_and(self.chosen, options)
        *also_before, rejected = self._prompt_and(self.rejected, options)
        if before != also_before:
            raise _LeftOut(OTHER_PROMPT)
        if chosen == rejected:
            raise _LeftOut(SAME_TEXT)
        if options.turns == "first" and any(earlier.turn.role == "assistant" for earlier in before):
            raise _LeftOut(NOT_FIRST)
        return [_exchange(set_id, before, chosen, rejected)]

    def _prompt_and(self, answer: list[_ChatMessage], options: SeedData) -> list[Message]:
        prompt = self.prompt or []
        if not _is_whole(answer):
            return _conversation(prompt + answer, options)
        if any(said not in answer for said in prompt):
            raise _LeftOut(OTHER_PROMPT)
        return _conversation(answer, options)


class _Instance(Fields):
    input: str | None = None
    output: str


class InstructionRow(SimpleRow):
    """An instruction with an input, if any, and its output; several instances of it are a set each."""

    instruction: str
    input: str | None = None
    output: str | None = None
    instances: list[_Instance] | None = None

    @model_validator(mode="after")
    def _answered(self) -> "InstructionRow":
        if self.output is None and not self.instances:
            raise ValueError("field 'output' is missing; add it, or instances with one")
        return self

    def drafts(self, set_id: str, options: SeedData) -> list[Draft]:
        instances = self.instances or []
        if self.output is not None:
            instances = [_Instance(input=self.input, output=self.output)]
        if len(instances) == 1:
            return [self._draft(set_id, instances[0], options)]
        return [
            self._draft(f"{set_id}/i{n}", instance, options, conversation=set_id)
            for n, instance in enumerate(instances)
        ]

    def _draft(self, set_id: str, instance: _Instance, options: SeedData, conversation: str | None = None) -> Draft:
        given = instance.input
        prompt = f"{self.instruction}\n\n{given}" if given and given.strip() else self.instruction
        limit = options.max_characters
        asked, answered = message("user", prompt, limit), message("assistant", instance.output, limit)
        return _exchange(set_id, [asked], answered, conversation=conversation)


def simple_rows(rows: Iterable[Row], options: SeedData, kind: type[SimpleRow]) -> Iterator[RankedSet | Dropped]:
    """Sets of rows of one kind. A row without ``id`` is called by its place among the rows (``seed/000017``).

    Replies are called by their place in the set (``…/r0``), sets by their place in a chat where that may give
    several (``…/t0``). Raises `RowError` at the first row that does not fit or whose id was met before.
    """
    seen: dict[str, str] = {}
    for row in rows:
        found = parse(kind, row.fields, row.where)
        set_id = found.id or f"seed/{len(seen):06d}"
        if set_id in seen:
            raise RowError(f"{row.where}: id {set_id!r} stands in {seen[set_id]} too; rename one")
        seen[set_id] = row.where
        try:
            drafts = found.drafts(set_id, options)
        except _LeftOut as reason:
            yield Dropped(set_id, "seed", str(reason))
            continue
        for draft in drafts:
            if isinstance(draft, Dropped):
                yield draft
            else:
                yield from settle(draft)


def _exchange(set_id: str, before: list[Message], *replies: Message, conversation: str | None = None) -> Draft:
    """The set of `replies`, the best first, to the last message of `before`."""
    ranked = tuple(Reply(f"{set_id}/r{rank}", reply, rank) for rank, reply in enumerate(replies))
    return Draft(set_id, before[-1], ranked, tuple(before[:-1]), conversation)


def _is_whole(answer: list[_ChatMessage]) -> bool:
    return bool(answer) and answer[0].role != "assistant"


def _conversation(said: list[_ChatMessage], options: SeedData) -> list[Message]:
    """The messages in order; an empty system message is none. Raises `_LeftOut` where they are no conversation."""
    if said and said[0].role == "system" and not said[0].content.strip():
        said = said[1:]
    roles = [one.role for one in said]
    if not _ROLES.keys() >= set(roles):
        raise _LeftOut(OTHER_ROLE)
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(spoken)):
        raise _LeftOut(OUT_OF_TURN)
    if not spoken or spoken[-1] != "assistant":
        raise _LeftOut(NO_LAST_REPLY)
    return [message(_ROLES[one.role], one.content, options.max_characters) for one in said]
