"""A `LanguageModel` with scripted completions, which runs in the test's process."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfreward_ray.inference.block import BlockCounts, Job, run_block
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.pool import Workload
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, Turn
from selfreward_ray.steps.pooled import PooledStep, run_pooled
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.manifest import Manifest


class ScriptedModel:
    """`answer(text, request_id)` gives the completion, its text alone, or an exception to raise.

    Ids are the bytes of the text, so a prompt can be read back. `context` counts them as an engine would.
    """

    def __init__(self, answer: Callable[[str, str], Any], context: int = 10**9):
        self._answer = answer
        self._context = context
        self.asked: list[str] = []
        self.samplings: dict[str, Sampling] = {}
        self.patterns: dict[str, str | None] = {}
        self.thinking: list[bool | None] = []

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        self.thinking.append(thinking)
        return list("\n".join([*(f"{turn.role}: {turn.text}" for turn in history), text]).encode())

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        if len(prompt_ids) + sampling.max_tokens > self._context:
            raise ContextOverflow("too long")
        self.asked.append(request_id)
        self.samplings[request_id] = sampling
        self.patterns[request_id] = pattern
        said = self._answer(bytes(prompt_ids).decode(), request_id)
        if isinstance(said, Exception):
            raise said
        return completion(said) if isinstance(said, str) else said

    def shutdown(self) -> None: ...


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(text, tuple(text.encode()), finish_reason)


def pool_of(model: ScriptedModel, stop_after: int | None = None) -> Callable[..., Any]:
    """Replaces `open_pool` and runs blocks in this process. It is interrupted after `stop_after` blocks."""
    return partial(ScriptedPool, model, stop_after)


class ScriptedPools:
    """Creates a model that returns `answer`, and runs a step on it."""

    def __init__(self, answer: Callable[[str, str], Any]):
        self._answer = answer

    def __call__(self, stop_after: int | None = None) -> ScriptedModel:
        model = ScriptedModel(self._answer)
        self._pool = pool_of(model, stop_after)
        return model

    def run(self, step: PooledStep) -> Manifest:
        return run_on(self._pool, step)


def run_on(pool: Callable[..., Any], step: PooledStep) -> Manifest:
    (manifest,) = run_pooled(step, open_pool=pool)
    return manifest


class ScriptedPool(AbstractContextManager["ScriptedPool"]):
    def __init__(self, model: ScriptedModel, stop_after: int | None, _model: str, inference: Any, seed: int, note: Any):
        self._model = model
        self._stop_after = stop_after
        self._size = inference.rows_per_block

    def __exit__(self, *_: object) -> None: ...

    def run(self, workloads: Sequence[Workload]) -> Iterator[tuple[str, BlockCounts]]:
        number = 0
        for job, rows, finished in workloads:
            tables = [pq.read_table(path) for path in sorted(Path(rows.uri).glob("*.parquet"))]
            records = [r for t in tables for r in from_table(t, job.record) if r.id not in finished]
            for start in range(0, len(records), self._size):
                if number == self._stop_after:
                    raise KeyboardInterrupt
                yield job.out, block_of(records[start : start + self._size], self._model, job)
                number += 1

    def summary(self) -> dict[str, int]:
        return {"engine_restarts": 0, "rows_retried": 0}


def block_of(records: list[Any], model: ScriptedModel, job: Job) -> BlockCounts:
    return asyncio.run(run_block(records, model, job, TokenLimiter(10**9)))


class ScriptedRounds:
    """Replaces `open_rounds` and runs the blocks of each round in this process, in reverse order if `backwards`."""

    def __init__(self, model: ScriptedModel, stop_after: int | None = None, backwards: bool = False):
        self._model = model
        self._stop_after = stop_after
        self._backwards = backwards

    @contextmanager
    def __call__(
        self, _model: str, inference: Any, seed: int, *, round_rows: int, row_tokens: int, max_rounds: int, note: Any
    ) -> Iterator["ScriptedRounds"]:
        self._size = inference.rows_per_block
        self._left = max_rounds * -(-round_rows // self._size)
        yield self

    def summary(self) -> dict[str, int]:
        return {"engine_restarts": 0, "rows_retried": 0}

    def ask(self, job: Job, records: list[Any]) -> Iterator[Any]:
        cuts = [records[i : i + self._size] for i in range(0, len(records), self._size)]
        self._left -= len(cuts)
        assert self._left >= 0, "more blocks than were announced"
        for number, cut in enumerate(reversed(cuts) if self._backwards else cuts):
            if number == self._stop_after:
                raise KeyboardInterrupt
            yield block_of(cut, self._model, job)
