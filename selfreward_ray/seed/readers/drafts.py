"""From what a row says to a ranked set: which messages may be used, and what is left of a set without the others.

A `Dropped` set stands for its replies too; a reply of its own is dropped only from a set that is kept. Reasons are
fixed texts, to be counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from selfreward_ray.records import Dropped, RankedReply, RankedSet, ToolUse, Turn

Role = Literal["system", "user", "assistant", "tool"]

Rank = Annotated[int, Field(ge=0, lt=2**31)]
"""0 is the best."""

UNRANKED = "has no rank"
NONE_RANKED = "no reply is ranked"
NONE_LEFT = "no reply is left"
NOT_FIRST = "its prompt does not open a conversation (seed_data.turns=any takes it)"
SAME_RANK = "two replies have the same rank"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was found. `fault` says, as a predicate, why it may not be used: ``is empty``."""

    turn: Turn
    fault: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it was found. `rank` is None where nobody ranked it."""

    id: str
    message: Message
    rank: int | None
    score: float | None = None
    verdict: str | None = None
    thought: str = ""

    @property
    def fault(self) -> str | None:
        return self.message.fault or (UNRANKED if self.rank is None else None)


@dataclass(frozen=True, slots=True)
class Draft:
    """A ranked set as it was found, with what may not be used in it."""

    id: str
    prompt: Message
    replies: tuple[Reply, ...]
    history: tuple[Message, ...] = ()
    conversation: str | None = None
    ties: bool = True
    """Whether replies may have equal ranks."""
    since: tuple[Message, ...] = ()
    """As `ToolUse.since`."""
    tool_use: ToolUse | None = None


def message(role: Role, text: str, max_characters: int, mark: str | None = None) -> Message:
    """The message with the fault it is marked with, else that of its text."""
    return checked(Turn(role, text), max_characters, mark)


def checked(turn: Turn, max_characters: int, mark: str | None = None) -> Message:
    """As `message`, of a turn that may have calls."""
    return Message(turn, mark or _fault(turn, max_characters))


def settle(draft: Draft) -> Iterator[RankedSet | Dropped]:
    """The set with the replies that may be used, after each of the others as `Dropped`; or the set as `Dropped`."""
    reason = _set_fault(draft)
    if reason is not None:
        yield Dropped(draft.id, "seed", reason)
        return
    for reply in draft.replies:
        if reply.fault is not None:
            yield Dropped(reply.id, "seed", f"reply {reply.fault}")
    yield RankedSet(
        id=draft.id,
        prompt=draft.prompt.turn.text,
        replies=tuple(
            RankedReply(reply.id, reply.message.turn.text, reply.rank, reply.score, reply.verdict, reply.thought)
            for reply in draft.replies
            if reply.fault is None and reply.rank is not None
        ),
        history=tuple(earlier.turn for earlier in draft.history),
        conversation=draft.conversation,
        tool_use=draft.tool_use,
    )


def _set_fault(draft: Draft) -> str | None:
    if draft.prompt.fault is not None:
        return f"prompt {draft.prompt.fault}"
    for earlier in draft.history:
        if earlier.fault is not None:
            return f"a message before the prompt {earlier.fault}"
    for later in draft.since:
        if later.fault is not None:
            return f"a message between the prompt and the reply {later.fault}"
    faults = {reply.fault for reply in draft.replies}
    if None not in faults:
        if faults == {UNRANKED}:
            return NONE_RANKED
        return f"every reply {faults.pop()}" if len(faults) == 1 else NONE_LEFT
    ranks = [reply.rank for reply in draft.replies if reply.fault is None]
    return SAME_RANK if not draft.ties and len(set(ranks)) < len(ranks) else None


def _fault(turn: Turn, max_characters: int) -> str | None:
    if not (turn.text.strip() or turn.calls or turn.role == "tool"):
        return "is empty"
    said = [turn.text, turn.tool, turn.call_id, *(text for c in turn.calls for text in (c.name, c.arguments, c.id))]
    if sum(map(len, said)) > max_characters:
        return "is longer than seed_data.max_characters"
    return "holds a lone surrogate" if any(map(has_lone_surrogate, said)) else None


def has_lone_surrogate(text: str) -> bool:
    """Whether `text` holds half of a character, as JSON can write it; it cannot be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
