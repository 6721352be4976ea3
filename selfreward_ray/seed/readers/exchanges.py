"""What a row of any format says, in one form: messages, the replies to the last one, and the order of the replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfreward_ray.records import ToolCall, Turn
from selfreward_ray.seed.readers.drafts import Role

Values = dict[str, Any]
"""The columns of a row, under the names that its format gives them."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A message as it was found."""

    role: Role
    text: str
    trained: bool = True
    """Whether the row allows it as a reply to learn from (``"weight": 0`` does not)."""
    thought: str = ""
    """What was thought before it, where the row holds that apart from its text."""
    calls: tuple[ToolCall, ...] = ()
    tool: str = ""
    call_id: str = ""

    @property
    def uses_tools(self) -> bool:
        return self.role == "tool" or bool(self.calls)

    @property
    def turn(self) -> Turn:
        return Turn(self.role, self.text, self.calls, self.tool, self.call_id)


@dataclass(frozen=True, slots=True)
class Given:
    """A reply as it was found."""

    text: str
    rank: int | None = None
    """0 is the best. None if nobody ranked it, or if its score decides."""
    score: float | None = None
    verdict: str | None = None
    trained: bool = True
    thought: str = ""
    fault: str | None = None
    """Why it may not be used though its text may, as a predicate."""
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages of which the last one asks, and the replies to it; without replies it is a prompt alone."""

    before: tuple[Spoken, ...]
    replies: tuple[Given, ...]
    part: str = ""
    """Its place in a row that holds several: ``t0`` for the first turn of a chat, ``i0`` for the first instance of an
    instruction. Empty in a row that holds one."""
    tools: str = ""
    """As `ToolUse.tools`."""

    @property
    def uses_tools(self) -> bool:
        return bool(self.tools) or any(m.uses_tools for m in self.before) or any(r.calls for r in self.replies)


def exchanges_of(spoken: Sequence[Spoken], tools: str = "") -> list[Exchange]:
    """The exchanges of a chat, one for each message of the assistant; a last message that is not the assistant's is an
    exchange without replies. `tools` are declared for all of them."""
    answers = [(i, one) for i, one in enumerate(spoken) if one.role == "assistant"]
    found = [
        Exchange(
            tuple(spoken[:i]),
            (Given(one.text, rank=0, trained=one.trained, thought=one.thought, calls=one.calls),),
            f"t{n}",
            tools,
        )
        for n, (i, one) in enumerate(answers)
    ]
    if spoken and spoken[-1].role != "assistant":
        found.append(Exchange(tuple(spoken), (), f"t{len(answers)}", tools))
    return found
