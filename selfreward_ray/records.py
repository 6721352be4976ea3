"""The row types that steps exchange.

All are frozen dataclasses with deterministic ids. An id tells where a row comes from: ``M2/q000123/r2/v0`` is verdict 0
on reply 2 to the prompt ``M2/q000123``, one of those that M2 is trained on. It is the row's lineage, its key when a
step is resumed, and what its sampling seed is derived from.

A prompt that a model proposed has the number of its request; dropped proposals keep their numbers, so there are gaps.
Prompts of a file or a source are ``M2/p000017``, without gaps.

`selfreward_ray.store.arrow` converts rows to Arrow tables and back.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class ToolCall:
    """An assistant's call of a tool."""

    name: str
    arguments: str
    """A JSON object, as text."""
    id: str = ""
    """By which a result names the call; empty if the source has none."""


@dataclass(frozen=True)
class Turn:
    """A message of a conversation. Only conversations with a `ToolUse` have calls and the role ``tool``."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[ToolCall, ...] = ()
    """What an assistant's message calls."""
    tool: str = ""
    """The name of the tool whose result the text is, if the source has it."""
    call_id: str = ""
    """The id of the call whose result the text is, if the source has it."""


@dataclass(frozen=True)
class ToolUse:
    """What a conversation with tools has beside its history, prompt and reply. Such conversations serve SFT alone."""

    tools: str = ""
    """The declared tools, a JSON list of objects as text; empty if the source declares none."""
    since: tuple[Turn, ...] = ()
    """The messages between the prompt and the reply: the assistant's calls and the tools' results."""
    calls: tuple[ToolCall, ...] = ()
    """What the reply calls. Its text may then be empty."""


def conversation_text(history: tuple[Turn, ...], prompt: str) -> str:
    """The text that a judge is shown: the earlier messages, if any, and the prompt."""
    if not history:
        return prompt
    turns = [*history, Turn("user", prompt)]
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


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


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and a target as token ids. The model computes the log-probabilities of the target's tokens."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    context: int = 0
    """Number of the first target tokens that the model only reads, such as a thought. They give no log-probs."""

    @property
    def scored_ids(self) -> tuple[int, ...]:
        """The target tokens whose log-probabilities are computed."""
        return self.target_ids[self.context :]


@dataclass(frozen=True)
class SftTokens:
    """An encoded `SftExample`, or a `Positive` with its generated tokens. `target_ids` ends with the end token."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    context: int = 0
    """As `TokenSequence.context`."""
    left_out: tuple[str, ...] = ()
    """For each thought of the row that is not in `target_ids`, the reason."""

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The sequences that a forward pass needs."""
        return (TokenSequence(f"{self.id}/target", self.prompt_ids, self.target_ids, self.context),)


@dataclass(frozen=True)
class PairTokens:
    """An encoded `Pair`."""

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    label_smoothing: float = 0.0
    eft: SftTokens | None = None
    """An EFT example that is trained on together with the pair; None if ``dpo.eft_weight`` is 0."""
    chosen_context: int = 0
    """As `TokenSequence.context`, of the chosen reply."""
    rejected_context: int = 0
    left_out: tuple[str, ...] = ()
    """As `SftTokens.left_out`, of both replies."""

    @property
    def chosen(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/chosen", self.prompt_ids, self.chosen_ids, self.chosen_context)

    @property
    def rejected(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/rejected", self.prompt_ids, self.rejected_ids, self.rejected_context)

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The sequences that a forward pass needs."""
        return (self.chosen, self.rejected, *(self.eft.sequences() if self.eft else ()))

    def alone(self) -> "PairTokens":
        """The pair without its EFT example."""
        return replace(self, eft=None)


@dataclass(frozen=True)
class EvaluatedReply:
    """A model's greedy answer to a held-out prompt."""

    id: str
    prompt: str
    """The text that a judge is shown, which includes the earlier messages of the conversation."""
    text: str
    finished: bool
    thought: str = ""
    """What the model thought before the answer."""


@dataclass(frozen=True)
class ScoredReply:
    """The score that the recipe's scorer gave a model's answer, from 0 to `maximum`."""

    id: str
    score: float
    maximum: float


@dataclass(frozen=True)
class EvaluatedSet:
    """A model's answer to the prompt of a held-out ranked set, and its verdicts on the ranked replies."""

    id: str
    answer: EvaluatedReply
    judged: tuple[JudgedReply, ...]
    group: str = ""
    """As `RankedSet.group`."""


@dataclass(frozen=True)
class Question:
    """The user's turns of a conversation, which a model answers one after the other."""

    id: str
    turns: tuple[str, ...]
    question_id: str | None = None
    """The question's id in the user's file, as JSON: ``81`` and ``"81"`` are two ids. None if it has none."""
    history: tuple[Turn, ...] = ()
    """The messages before the first turn, as `Prompt.history`."""


@dataclass(frozen=True)
class Answer:
    """A model's answer to one turn of a question."""

    id: str
    text: str
    finished: bool
    """Whether the model ended the answer, rather than the length limit."""
    thought: str = ""
    """What the model thought before the answer."""


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question and a model's answers, one for each turn."""

    id: str
    question: Question
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class TaskRequest:
    """A request of a benchmark's task, in the terms of lm-eval."""

    id: str
    """The kind and a hash of what is asked for, and the number of the repetition."""
    kind: Literal["loglikelihood", "loglikelihood_rolling", "generate_until"]
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = ()
    """The tokens to score after the prompt; empty for ``generate_until``."""
    until: tuple[str, ...] = ()
    """Texts before which a generated text ends."""
    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class TaskAnswer:
    """A model's answer to a `TaskRequest`: a text, or the score of given tokens."""

    id: str
    logprob: float | None = None
    """Sum of the log-probabilities of the tokens, in nats."""
    greedy: bool | None = None
    """Whether greedy decoding gives these tokens."""
    text: str | None = None


@dataclass(frozen=True)
class Contender:
    """A reply in a head-to-head comparison. `id` is that of the reply."""

    id: str
    text: str


@dataclass(frozen=True)
class ReplyPair:
    """Two replies to the same prompt, to be compared."""

    id: str
    prompt: str
    """The text that a judge is shown, which includes the earlier messages of the conversation."""
    left: Contender
    right: Contender


@dataclass(frozen=True)
class Comparison:
    """A compared pair and its verdicts in both orders.

    A verdict's score is 1 if the reply shown first is better, 0 if the second is, and 0.5 for a tie.
    """

    id: str
    pair: ReplyPair
    left_first: tuple[Verdict, ...]
    """Verdicts that were shown the left reply first."""
    right_first: tuple[Verdict, ...]
    preferred: Literal["left", "right", "first", "second", "neither"]
    """``left`` or ``right`` if both orders prefer that reply; ``first`` or ``second`` if both prefer the reply at that
    position; otherwise ``neither``."""


@dataclass(frozen=True)
class ScoredPair:
    """Two models' answers to a prompt with a judge's scores of each alone."""

    id: str
    prompt: str
    """As `ReplyPair.prompt`."""
    left: Candidate
    right: Candidate
    preferred: Literal["left", "right", "neither"]
    """The reply with the higher mean score."""


@dataclass(frozen=True)
class Dropped:
    """A row that a step dropped, and the reason. No row is dropped without one."""

    id: str
    step: str
    reason: str
