"""What a model is asked, what it answers, and the preferences among its answers."""

from dataclasses import dataclass

from selfreward_ray.records.conversations import Turn, conversation_text
from selfreward_ray.records.seed import Verdict


@dataclass(frozen=True)
class Prompt:
    """A prompt for the policy."""

    id: str
    text: str
    history: tuple[Turn, ...] = ()
    """The messages before the prompt: a system text, earlier turns. Empty if the prompt opens the conversation."""

    @property
    def question(self) -> str:
        """As `RankedSet.question`."""
        return conversation_text(self.history, self.text)


def prompt_id(iteration: int, place: int) -> str:
    """The id of a prompt of `iteration`, 1 for the first; it names the model that is made, as in ``M2/p000017``."""
    return f"M{iteration + 1}/p{place:06d}"


@dataclass(frozen=True)
class Proposal:
    """A prompt proposed by a model, before filtering."""

    id: str
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Usage:
    """The tokens of a request as an endpoint counted them."""

    prompt_tokens: int
    generated_tokens: int


@dataclass(frozen=True)
class Completion:
    """The output of the engine, or of an endpoint, for a request."""

    text: str
    """The reply, without the thought before it."""
    token_ids: tuple[int, ...]
    """The generated tokens, including the end token if the model generated it. Empty if an endpoint answered."""
    finish_reason: str
    """``stop`` if the model ended its output, ``length`` if the length limit cut it off, ``unfinished thought`` if it
    ended its output inside a thought, or an endpoint's own reason."""
    cached_tokens: int | None = 0
    """Number of prompt tokens that were in the prefix cache; None if the endpoint does not report it."""
    usage: Usage | None = None
    """The endpoint's counts; None if an engine of this package answered, whose token ids are counted."""
    thought: str = ""
    """What the model thought before the reply."""
    thought_tokens: int = 0
    """Number of the first `token_ids` that are not the reply: the thought with its marks."""


@dataclass(frozen=True)
class Candidate:
    """A candidate reply and its verdicts."""

    id: str
    text: str
    """The reply, without the thought before it."""
    token_ids: tuple[int, ...]
    """The generated tokens, those of the thought included. Empty if the reply was imported; it is then encoded by the
    training step."""
    finished: bool
    """Whether the model ended the reply, rather than the length limit. A thought without an end is no
    reply."""
    verdicts: tuple[Verdict, ...] = ()
    """Empty before the candidate is judged."""
    mean: float | None = None
    """Mean of the valid scores; None if there is none."""
    variance: float | None = None
    """Population variance of the valid scores; None if there is none."""
    thought: str = ""
    """What the model thought before the reply. No judge sees it."""
    thought_tokens: int = 0
    """As `Completion.thought_tokens`."""


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt and its candidates, with their verdicts once they are judged."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    """The encoded prompt as the engine read it. Empty if the candidates were imported; it is then encoded by the
    training step."""
    candidates: tuple[Candidate, ...]
    history: tuple[Turn, ...] = ()
    """As `Prompt.history`."""

    @property
    def question(self) -> str:
        """As `RankedSet.question`."""
        return conversation_text(self.history, self.text)


@dataclass(frozen=True)
class Pair:
    """A preference pair. `chosen` has the higher mean score."""

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]
    """As `JudgedPrompt.token_ids`."""
    chosen: Candidate
    rejected: Candidate
    label_smoothing: float = 0.0
    """The probability, 0 to 0.5, that the label is wrong. Above 0 only for weak pairs of `preference-strength`."""
    history: tuple[Turn, ...] = ()
    """As `Prompt.history`."""


@dataclass(frozen=True)
class Positive:
    """A high-scored reply that is used as an SFT example (paper, section 2.3, positive examples only)."""

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]
    """As `JudgedPrompt.token_ids`."""
    reply: Candidate
    history: tuple[Turn, ...] = ()
    """As `Prompt.history`."""
