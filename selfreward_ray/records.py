"""The rows that travel between steps.

Frozen dataclasses with deterministic ids. An id says where a row came from
(``M2/p000017/r2/v0``: prompt 17 of those for M2, reply 2, verdict 0), so it is the restart
key, the source of a sampling seed and the lineage at once. Inside Ray a row is a plain
dict; `selfreward_ray.store.arrow` converts at the edges.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class RankedReply:
    """One reply that an annotator ranked. `verdict` is the annotator's own written verdict, if any."""

    id: str
    text: str
    rank: int
    """0 is the best; equal ranks are ties."""
    score: float | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class RankedSet:
    """A prompt with several ranked replies: the raw material of IFT and EFT (paper, section 2.1)."""

    id: str
    prompt: str
    replies: tuple[RankedReply, ...]
    history: tuple[Turn, ...] = ()
    """What was said before the prompt; empty where it opens the conversation."""
    conversation: str | None = None
    """The conversation that the set was taken from; None where that gave no other set."""
    group: str = ""
    """The held-out set that it belongs to, where there are several with names."""

    @property
    def question(self) -> str:
        """The prompt as a judge is shown it: after what was said before, where there is something."""
        if not self.history:
            return self.prompt
        turns = [*self.history, Turn("user", self.prompt)]
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


@dataclass(frozen=True)
class Verdict:
    """One judgement of one reply. `score` is None when no score could be read: never a number."""

    id: str
    text: str
    score: float | None
    attempts: int


@dataclass(frozen=True)
class ReplyVerdicts:
    """The verdicts that a model gave on one ranked reply; `id` is the reply's."""

    id: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class JudgedSet:
    """A ranked set with sampled verdicts on each of its replies, in the replies' order: what EFT is chosen from."""

    id: str
    ranked: RankedSet
    judged: tuple[ReplyVerdicts, ...]


@dataclass(frozen=True)
class SftExample:
    """One supervised example: `ift` (instruction, reply) or `eft` (judge prompt, verdict)."""

    id: str
    kind: Literal["ift", "eft"]
    prompt: str
    target: str
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """An instruction for the policy to answer."""

    id: str
    text: str


def prompt_id(iteration: int, place: int) -> str:
    """The id of a prompt of `iteration`, 1 for the first; it names the model that is made, as in ``M2/p000017``."""
    return f"M{iteration + 1}/p{place:06d}"


@dataclass(frozen=True)
class Proposal:
    """A prompt that a model proposed, before the filters."""

    id: str
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Completion:
    """What an engine generated for one request."""

    text: str
    token_ids: tuple[int, ...]
    """Generated tokens, the end token included when the model wrote it."""
    finish_reason: str
    """``stop`` when the model ended by itself, ``length`` when it was cut off."""
    cached_tokens: int = 0
    """Tokens of the prompt that the engine found in its prefix cache."""


@dataclass(frozen=True)
class Candidate:
    """A reply with its verdicts, none before it is judged; `mean` and `variance` are over the valid scores."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    """Empty: not written by an engine here; encoded when trained on."""
    finished: bool
    verdicts: tuple[Verdict, ...] = ()
    mean: float | None = None
    variance: float | None = None


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt, the ids it was encoded to, and its candidates: judged, or to be judged, without verdicts."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    """Empty: not read by an engine when its candidates were written; encoded when trained on."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Pair:
    """A preference: `chosen` has the greater mean score of the two."""

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]
    """Empty, as `Candidate.token_ids` are, where no engine here wrote the replies."""
    chosen: Candidate
    rejected: Candidate
    label_smoothing: float = 0.0
    """How likely the label is wrong, 0 to 0.5: above 0 in a pair that its policy softened."""


@dataclass(frozen=True)
class Positive:
    """A reply good enough to be trained on as it is (paper, section 2.3, positive examples only)."""

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]
    """As in `Pair`."""
    reply: Candidate


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and the target after it, as token ids: what one forward pass scores."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


@dataclass(frozen=True)
class SftTokens:
    """An encoded `SftExample`, or a reply as the engine wrote it; `target_ids` ends in the end token."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    def sequences(self) -> tuple[TokenSequence, ...]:
        return (TokenSequence(f"{self.id}/target", self.prompt_ids, self.target_ids),)


@dataclass(frozen=True)
class PairTokens:
    """An encoded `Pair`."""

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    label_smoothing: float = 0.0
    eft: SftTokens | None = None
    """A judging row that is trained on beside the pair; None where `dpo.eft_weight` is 0."""

    @property
    def chosen(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/chosen", self.prompt_ids, self.chosen_ids)

    @property
    def rejected(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/rejected", self.prompt_ids, self.rejected_ids)

    def sequences(self) -> tuple[TokenSequence, ...]:
        return (self.chosen, self.rejected, *(self.eft.sequences() if self.eft else ()))

    def alone(self) -> "PairTokens":
        """The pair without its judging row."""
        return replace(self, eft=None)


@dataclass(frozen=True)
class EvaluatedReply:
    """A model's greedy answer to a held-out prompt."""

    id: str
    prompt: str
    """As a judge is shown it, with what was said before."""
    text: str
    finished: bool


@dataclass(frozen=True)
class ScoredReply:
    """What the recipe's scorer gave a model's answer, of 0 to `maximum`."""

    id: str
    score: float
    maximum: float


@dataclass(frozen=True)
class JudgedReply:
    """The model's verdict on a reply that an annotator ranked, for agreement figures."""

    id: str
    set_id: str
    rank: int
    human_score: float | None
    verdict: Verdict


@dataclass(frozen=True)
class EvaluatedSet:
    """A held-out ranked set: the model's own answer to its prompt, and its verdicts on the ranked replies."""

    id: str
    answer: EvaluatedReply
    judged: tuple[JudgedReply, ...]
    group: str = ""
    """The ranked set's."""


@dataclass(frozen=True)
class Contender:
    """A reply in a head-to-head comparison; `id` says where it came from."""

    id: str
    text: str


@dataclass(frozen=True)
class ReplyPair:
    """Two replies to the same prompt that are to be compared."""

    id: str
    prompt: str
    left: Contender
    right: Contender


@dataclass(frozen=True)
class Comparison:
    """A compared pair with its verdicts, by the reply that they were shown first.

    A verdict's score is the first reply's: 1 where that is the better one, 0 where the other is, 0.5 for a tie.
    """

    id: str
    pair: ReplyPair
    left_first: tuple[Verdict, ...]
    right_first: tuple[Verdict, ...]
    preferred: Literal["left", "right", "first", "second", "neither"]
    """A side, where both orders prefer it; a place, where both prefer what stood there; else neither."""


@dataclass(frozen=True)
class Dropped:
    """A row that a step gave up, and why. Nothing is dropped in silence."""

    id: str
    step: str
    reason: str
