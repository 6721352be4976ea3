"""How records become rows of exported tables: pairs and examples for trainers, answers and comparisons for readers."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import pyarrow as pa

from selfreward_ray.errors import UserError
from selfreward_ray.models.tools import as_message
from selfreward_ray.records import (
    AnsweredQuestion,
    Candidate,
    Comparison,
    EvaluatedSet,
    JudgedPrompt,
    Pair,
    Positive,
    ScoredPair,
    ScoredReply,
    SftExample,
    ToolUse,
    Turn,
)
from selfreward_ray.store.arrow import arrow_schema

Pick = Literal["first", "best"]
"""Which of a prompt's replies is exported: the first one, or the one with the highest mean score."""

ANSWERS = (JudgedPrompt, EvaluatedSet, AnsweredQuestion)
"""Records that hold a model's answers."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_PAIR_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *((name, _MESSAGES) for name in ("prompt", "chosen", "rejected")),
        *((name, pa.float64()) for name in ("chosen_score", "rejected_score", "label_smoothing")),
        *((name, pa.string()) for name in ("chosen_thought", "rejected_thought")),
    ]
)
_EXAMPLE_SCHEMA = pa.schema(
    [("id", pa.string()), ("kind", pa.string()), ("messages", _MESSAGES), ("thought", pa.string())]
)
_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_TOOL_MESSAGES = pa.list_(
    pa.struct(
        [
            *((name, pa.string()) for name in ("role", "content")),
            ("tool_calls", pa.list_(_CALL)),
            *((name, pa.string()) for name in ("name", "tool_call_id")),
        ]
    )
)
_TOOL_EXAMPLE_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "kind")),
        ("messages", _TOOL_MESSAGES),
        *((name, pa.string()) for name in ("thought", "tools")),
    ]
)
_REPLY_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("history", _MESSAGES),
        *((name, pa.string()) for name in ("prompt", "reply", "generator")),
        ("finished", pa.bool_()),
        ("mean", pa.float64()),
        ("scores", pa.list_(pa.float64())),
        ("thought", pa.string()),
    ]
)
_EVALUATED_SCHEMA = pa.schema([*_REPLY_SCHEMA, *((name, pa.float64()) for name in ("scorer_score", "scorer_maximum"))])
_CONVERSATION_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("question_id", pa.string()),
        ("messages", _MESSAGES),
        ("generator", pa.string()),
        ("finished", pa.bool_()),
        ("thoughts", pa.list_(pa.string())),
    ]
)
_COMPARISON_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "left", "right", "preferred")])


@dataclass(frozen=True)
class Conversion:
    """From records of a class to rows of a schema."""

    record: type[Any]
    schema: pa.Schema
    rows: Callable[[Any], Iterable[dict[str, Any]]]


def conversion(
    table: pa.Schema,
    generator: str,
    pick: Pick | None,
    scores: Mapping[str, ScoredReply] | None = None,
    tools: bool = False,
) -> Conversion | None:
    """The conversion for the records of a table with the schema `table`; None if such records are not exported.

    `generator` is the name of the model that wrote the answers. `scores` are those of the recipe's scorer, by the
    answers' ids. `tools` says that examples use some: all rows of the table then have the columns for these.
    """
    known = [
        Conversion(Pair, _PAIR_SCHEMA, _pair_rows),
        Conversion(SftExample, _TOOL_EXAMPLE_SCHEMA, _tool_rows)
        if tools
        else Conversion(SftExample, _EXAMPLE_SCHEMA, _example_rows),
        Conversion(Positive, _EXAMPLE_SCHEMA, _positive_rows),
        Conversion(JudgedPrompt, _REPLY_SCHEMA, partial(_candidate_rows, generator=generator, pick=pick)),
        Conversion(EvaluatedSet, _EVALUATED_SCHEMA, partial(_evaluated_rows, generator=generator, scores=scores or {})),
        Conversion(AnsweredQuestion, _CONVERSATION_SCHEMA, partial(_conversation_rows, generator=generator)),
        Conversion(Comparison, _COMPARISON_SCHEMA, _comparison_rows),
        Conversion(ScoredPair, _COMPARISON_SCHEMA, _scored_pair_rows),
    ]
    return next((each for each in known if _fits(table.names, each.record)), None)


def _fits(names: list[str], record: type[Any]) -> bool:
    """Whether a table with these columns holds rows of `record`: an earlier version may lack fields with defaults."""
    known = arrow_schema(cast(Any, record)).names
    later = dataclasses.fields(record)[len(names) :]
    return names == known[: len(names)] and all(field.default is not dataclasses.MISSING for field in later)


def picked(prompt: JudgedPrompt, pick: Pick | None) -> tuple[Candidate, ...]:
    """All candidates, or one of them. Of several best ones the first is taken, and so it is where no verdict on any of
    them could be read. Raises `UserError` for the best of candidates that were not judged."""
    if pick is None:
        return prompt.candidates
    if pick == "first":
        return prompt.candidates[:1]
    if not any(candidate.verdicts for candidate in prompt.candidates):
        raise UserError(
            f"the replies to {prompt.id} were not judged; use --pick first, or judge them: selfreward judge"
        )
    return (max(prompt.candidates, key=lambda c: (c.mean is not None, c.mean or 0.0)),)


def _pair_rows(pair: Pair) -> Iterator[dict[str, Any]]:
    yield {
        "id": pair.id,
        "prompt": [*_messages(pair.history), _message("user", pair.prompt)],
        "chosen": [_message("assistant", pair.chosen.text)],
        "rejected": [_message("assistant", pair.rejected.text)],
        "chosen_score": pair.chosen.mean,
        "rejected_score": pair.rejected.mean,
        "label_smoothing": pair.label_smoothing,
        "chosen_thought": pair.chosen.thought or None,
        "rejected_thought": pair.rejected.thought or None,
    }


def _example_rows(example: SftExample) -> Iterator[dict[str, Any]]:
    messages = [*_messages(example.history), *_exchange(example.prompt, example.target)]
    yield {"id": example.id, "kind": example.kind, "messages": messages, "thought": example.thought or None}


def _tool_rows(example: SftExample) -> Iterator[dict[str, Any]]:
    """In the form of OpenAI's API, with arguments and declared tools as JSON texts."""
    use = example.tool_use or ToolUse()
    prompt, reply = Turn("user", example.prompt), Turn("assistant", example.target, use.calls)
    messages = [as_message(turn, "text") for turn in (*example.history, prompt, *use.since, reply)]
    (row,) = _example_rows(example)
    yield row | {"messages": messages, "tools": use.tools or None}


def _positive_rows(row: Positive) -> Iterator[dict[str, Any]]:
    messages = [*_messages(row.history), *_exchange(row.prompt, row.reply.text)]
    yield {"id": row.id, "kind": "positive", "messages": messages, "thought": row.reply.thought or None}


def _candidate_rows(prompt: JudgedPrompt, generator: str, pick: Pick | None) -> Iterator[dict[str, Any]]:
    for candidate in picked(prompt, pick):
        yield {
            "id": candidate.id,
            "history": _messages(prompt.history) or None,
            "prompt": prompt.text,
            "reply": candidate.text,
            "generator": generator,
            "finished": candidate.finished,
            "mean": candidate.mean,
            "scores": [verdict.score for verdict in candidate.verdicts] or None,
            "thought": candidate.thought or None,
        }


def _evaluated_rows(row: EvaluatedSet, generator: str, scores: Mapping[str, ScoredReply]) -> Iterator[dict[str, Any]]:
    answer = row.answer
    score = scores.get(answer.id)  # the recipe may have no scorer, and a scorer may leave answers without a score
    yield {
        "id": answer.id,
        "history": None,  # its prompt is the whole conversation as a judge is shown it
        "prompt": answer.prompt,
        "reply": answer.text,
        "generator": generator,
        "finished": answer.finished,
        "mean": None,
        "scores": None,
        "thought": answer.thought or None,
        "scorer_score": score and score.score,
        "scorer_maximum": score and score.maximum,
    }


def _conversation_rows(row: AnsweredQuestion, generator: str) -> Iterator[dict[str, Any]]:
    turns = zip(row.question.turns, row.answers, strict=True)
    messages = [message for turn, answer in turns for message in _exchange(turn, answer.text)]
    yield {
        "id": row.id,
        "question_id": row.question.question_id,
        "messages": [*_messages(row.question.history), *messages],
        "generator": generator,
        "finished": all(answer.finished for answer in row.answers),
        "thoughts": [answer.thought or None for answer in row.answers],
    }


def _comparison_rows(row: Comparison) -> Iterator[dict[str, Any]]:
    pair = row.pair
    yield {
        "id": row.id,
        "prompt": pair.prompt,
        "left": pair.left.text,
        "right": pair.right.text,
        "preferred": row.preferred,
    }


def _scored_pair_rows(row: ScoredPair) -> Iterator[dict[str, Any]]:
    yield {
        "id": row.id,
        "prompt": row.prompt,
        "left": row.left.text,
        "right": row.right.text,
        "preferred": row.preferred,
    }


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [_message(turn.role, turn.text) for turn in turns]


def _exchange(prompt: str, reply: str) -> list[dict[str, str]]:
    return [_message("user", prompt), _message("assistant", reply)]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
