"""Answers in the files that the tools of AlpacaEval and MT-Bench score.

`alpaca_eval` reads a JSON array of ``instruction``, ``output`` and ``generator``, and matches the answers with those of
the reference model by the text of the instruction. MT-Bench's tools, FastChat's `llm_judge`, read one JSON object a
line from ``model_answer/MODEL.jsonl``, match it with the question by ``question_id``, and judge the turns of the first
choice.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from selfreward_ray.errors import UserError
from selfreward_ray.records import AnsweredQuestion, EvaluatedSet, JudgedPrompt, Question
from selfreward_ray.steps.exported_rows import Pick, picked

Benchmark = Literal["alpaca-eval", "mt-bench"]


@dataclass(frozen=True)
class BenchmarkRow:
    """An object of a benchmark's file; `id` is that of the step's row."""

    id: str
    fields: dict[str, Any]
    finished: bool
    """Whether the model ended all of its answers, rather than the length limit."""


def benchmark_row(
    benchmark: Benchmark, row: Any, model: str, pick: Pick | None, answered_at: float | None
) -> BenchmarkRow:
    """The object for a record of `ANSWERS`. `model` is the name of the model, `answered_at` a Unix time in seconds.

    Raises `UserError` where AlpacaEval would be given several replies or several turns, where MT-Bench would be given
    anything but an `AnsweredQuestion` with an id, and for a prompt with earlier messages.
    """
    asked = row.question if isinstance(row, AnsweredQuestion) else row
    if isinstance(asked, JudgedPrompt | Question) and asked.history:
        raise UserError(
            f"{row.id} has messages before its prompt, for which a benchmark's file has no place; export it as .jsonl"
        )
    if benchmark == "alpaca-eval":
        prompt, reply, finished = _one_answer(row, pick)
        return BenchmarkRow(row.id, {"instruction": prompt, "output": reply, "generator": model}, finished)
    if not isinstance(row, AnsweredQuestion):
        raise UserError("--to mt-bench takes the answers of an answer step; make them with selfreward answer")
    question_id = row.question.question_id
    if question_id is None:
        raise UserError(
            f"{row.id} has no question_id, by which MT-Bench's tools match answers; add the field to the questions"
        )
    fields = _mt_bench_fields(row, question_id, model, answered_at)
    return BenchmarkRow(row.id, fields, all(answer.finished for answer in row.answers))


def benchmark_file(benchmark: Benchmark, rows: list[BenchmarkRow]) -> bytes:
    """The file of `rows`, in the order of their ids, which is that of the questions.

    It is in ASCII with escapes, because FastChat reads files in the encoding of the locale.
    """
    ordered = [row.fields for row in sorted(rows, key=lambda row: row.id)]
    if benchmark == "alpaca-eval":
        return json.dumps(ordered, indent=2).encode()
    return "".join(json.dumps(fields) + "\n" for fields in ordered).encode()


def benchmark_notes(benchmark: Benchmark, rows: list[BenchmarkRow], dropped: int) -> list[str]:
    """What the file does not say: answers that were cut off or are missing, and prompts that occur twice."""
    notes = []
    unfinished = sum(not row.finished for row in rows)
    if unfinished:
        notes.append(f"{unfinished} of {len(rows)} answers were cut off by the length limit")
    if dropped:
        effect = "alpaca_eval leaves them out" if benchmark == "alpaca-eval" else "FastChat refuses such a file"
        notes.append(f"{dropped} prompts have no answer, because the step dropped them: {effect}")
    if benchmark == "alpaca-eval":
        counts = Counter(row.fields["instruction"] for row in rows)
        repeated = sum(count > 1 for count in counts.values())
        if repeated:
            notes.append(
                f"{repeated} instructions occur several times; alpaca_eval compares each of their answers with each of "
                "the reference's"
            )
    return notes


def _mt_bench_fields(row: AnsweredQuestion, question_id: str, model: str, answered_at: float | None) -> dict[str, Any]:
    turns = [answer.text for answer in row.answers]
    # The same answers have the same id, so that an export can be repeated.
    content = json.dumps([model, question_id, turns])
    return {
        "question_id": json.loads(question_id),
        "answer_id": hashlib.sha256(content.encode()).hexdigest()[:22],
        "model_id": model,
        "choices": [{"index": 0, "turns": turns}],
        "tstamp": answered_at,
    }


def _one_answer(row: Any, pick: Pick | None) -> tuple[str, str, bool]:
    """Prompt, reply, and whether it is finished."""
    match row:
        case EvaluatedSet(answer=answer):
            return answer.prompt, answer.text, answer.finished
        case AnsweredQuestion(answers=(answer,)):
            return row.question.turns[0], answer.text, answer.finished
        case JudgedPrompt():
            replies = picked(row, pick)
            if len(replies) == 1:
                return row.text, replies[0].text, replies[0].finished
            raise UserError(
                f"{row.id} has {len(replies)} replies, but AlpacaEval takes one answer to a prompt: add --pick first, "
                "or --pick best for the one with the highest mean score"
            )
        case _:
            raise UserError(f"{row.id} has {len(row.answers)} turns, but AlpacaEval takes one; use --to mt-bench")
