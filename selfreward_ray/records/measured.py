"""What is measured of models: held-out answers, comparisons, benchmarks."""

from dataclasses import dataclass
from typing import Literal

from selfreward_ray.records.answers import Candidate
from selfreward_ray.records.conversations import Turn
from selfreward_ray.records.seed import JudgedReply, Verdict


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
