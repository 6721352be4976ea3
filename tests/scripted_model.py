"""A `LanguageModel` that says what a test tells it to, at once and in this process."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfreward_ray.inference.pool import Job, run_block
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.recipe import Sampling
from selfreward_ray.records import Completion
from selfreward_ray.storage import Folder
from selfreward_ray.tables import from_table


class ScriptedModel:
    """`answer(text, request_id)` gives the completion, its text alone, or an exception to raise.

    Ids are the bytes of the text, so a prompt can be read back. `context` counts them as an engine would.
    """

    def __init__(self, answer: Callable[[str, str], Any], context: int = 10**9):
        self._answer = answer
        self._context = context
        self.asked: list[str] = []
        self.samplings: dict[str, Sampling] = {}

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    async def generate(self, prompt_ids: list[int], sampling: Sampling, request_id: str) -> Completion:
        if len(prompt_ids) + sampling.max_tokens > self._context:
            raise ContextOverflow("too long")
        self.asked.append(request_id)
        self.samplings[request_id] = sampling
        said = self._answer(bytes(prompt_ids).decode(), request_id)
        if isinstance(said, Exception):
            raise said
        return completion(said) if isinstance(said, str) else said


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(text, tuple(text.encode()), finish_reason)


def pool_of(model: ScriptedModel, stop_after: int | None = None) -> Callable[..., Any]:
    """A stand-in for `run_pool` that runs its blocks here; `stop_after` blocks it is interrupted."""
    return partial(_run, model, stop_after)


def _run(
    model: ScriptedModel,
    stop_after: int | None,
    rows: Folder,
    finished: set[str],
    _model: str,
    inference: Any,
    job: Job,
) -> Any:
    tables = [pq.read_table(path) for path in sorted(Path(rows.uri).glob("*.parquet"))]
    records = [r for t in tables for r in from_table(t, job.record) if r.id not in finished]
    size = inference.rows_per_block
    for number, start in enumerate(range(0, len(records), size)):
        if number == stop_after:
            raise KeyboardInterrupt
        yield asyncio.run(run_block(records[start : start + size], model, job))
