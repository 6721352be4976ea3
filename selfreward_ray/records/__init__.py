"""The row types that steps exchange.

All are frozen dataclasses with deterministic ids. An id tells where a row comes from: ``M2/q000123/r2/v0`` is verdict 0
on reply 2 to the prompt ``M2/q000123``, one of those that M2 is trained on. It is the row's lineage, its key when a
step is resumed, and what its sampling seed is derived from.

A prompt that a model proposed has the number of its request; dropped proposals keep their numbers, so there are gaps.
Prompts of a file or a source are ``M2/p000017``, without gaps.

`selfreward_ray.store.arrow` converts rows to Arrow tables and back.
"""

from selfreward_ray.records.answers import (
    Candidate,
    Completion,
    JudgedPrompt,
    Pair,
    Positive,
    Prompt,
    Proposal,
    Usage,
    prompt_id,
)
from selfreward_ray.records.conversations import Dropped, ToolCall, ToolUse, Turn, conversation_text
from selfreward_ray.records.measured import (
    Answer,
    AnsweredQuestion,
    Comparison,
    Contender,
    EvaluatedReply,
    EvaluatedSet,
    Question,
    ReplyPair,
    ScoredPair,
    ScoredReply,
    TaskAnswer,
    TaskRequest,
)
from selfreward_ray.records.seed import (
    JudgedReply,
    JudgedSet,
    RankedReply,
    RankedSet,
    ReplyVerdicts,
    SftExample,
    Verdict,
)
from selfreward_ray.records.tokens import PairTokens, SftTokens, TokenSequence

__all__ = [
    "Answer",
    "AnsweredQuestion",
    "Candidate",
    "Comparison",
    "Completion",
    "Contender",
    "Dropped",
    "EvaluatedReply",
    "EvaluatedSet",
    "JudgedPrompt",
    "JudgedReply",
    "JudgedSet",
    "Pair",
    "PairTokens",
    "Positive",
    "Prompt",
    "Proposal",
    "Question",
    "RankedReply",
    "RankedSet",
    "ReplyPair",
    "ReplyVerdicts",
    "ScoredPair",
    "ScoredReply",
    "SftExample",
    "SftTokens",
    "TaskAnswer",
    "TaskRequest",
    "TokenSequence",
    "ToolCall",
    "ToolUse",
    "Turn",
    "Usage",
    "Verdict",
    "conversation_text",
    "prompt_id",
]
