"""What people ranked, verdicts on it, and the examples that it becomes."""

from dataclasses import dataclass
from typing import Literal

from selfreward_ray.records.conversations import ToolUse, Turn, conversation_text


@dataclass(frozen=True)
class RankedReply:
    """A reply that an annotator ranked."""

    id: str
    text: str
    rank: int
    """0 is the best rank; equal ranks are ties."""
    score: float | None = None
    """The annotator's score, if there is one."""
    verdict: str | None = None
    """The annotator's own written verdict, if there is one."""
    thought: str = ""
    """What its writer thought before it. Not part of the reply: no judge sees it."""


@dataclass(frozen=True)
class RankedSet:
    """A prompt with ranked replies, from which IFT and EFT examples are made (paper, section 2.1)."""

    id: str
    prompt: str
    replies: tuple[RankedReply, ...]
    history: tuple[Turn, ...] = ()
    """The messages before the prompt; empty if the prompt opens the conversation."""
    conversation: str | None = None
    """Id of the conversation that the set was taken from; None if no other set was taken from it."""
    group: str = ""
    """Name of the held-out set that it belongs to, if held-out sets have names."""
    tool_use: ToolUse | None = None
    """None if the conversation has no tools. Otherwise it has one reply."""

    @property
    def question(self) -> str:
        """The text that a judge is shown: the earlier messages, if any, and the prompt."""
        return conversation_text(self.history, self.prompt)


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on a reply."""

    id: str
    text: str
    score: float | None
    """In points of the rubric. None if no score could be read, which is never replaced by a number."""
    attempts: int
    """How many times the verdict was sampled; 0 if its prompt does not fit into the judge's context."""
    thought: str = ""
    """What the judge thought before the verdict. A score in it does not count."""


@dataclass(frozen=True)
class ReplyVerdicts:
    """A model's verdicts on a ranked reply; `id` is that of the reply."""

    id: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class JudgedReply:
    """A model's verdicts on a reply that an annotator ranked, for the agreement metrics."""

    id: str
    set_id: str
    rank: int
    human_score: float | None
    verdicts: tuple[Verdict, ...]
    """At least one. All replies of a step have the same number."""


@dataclass(frozen=True)
class JudgedSet:
    """A ranked set and the sampled verdicts on its replies, in their order. EFT examples are chosen from these."""

    id: str
    ranked: RankedSet
    judged: tuple[ReplyVerdicts, ...]

    def replies(self) -> tuple[JudgedReply, ...]:
        """The verdicts on each reply beside its rank."""
        return tuple(
            JudgedReply(reply.id, self.id, reply.rank, reply.score, given.verdicts)
            for reply, given in zip(self.ranked.replies, self.judged, strict=True)
        )


@dataclass(frozen=True)
class SftExample:
    """An SFT example: instruction and reply (`ift`), or judge prompt and verdict (`eft`)."""

    id: str
    kind: Literal["ift", "eft"]
    prompt: str
    target: str
    history: tuple[Turn, ...] = ()
    thought: str = ""
    """What stands before the target as its thought; empty if there is none."""
    tool_use: ToolUse | None = None
    """As `RankedSet.tool_use`."""
