"""A block: a few rows that one replica processes and writes together.

The replica writes a finished block to storage itself and returns only counts. So the driver's memory does not grow
with the rows, finished work survives a crash of the driver, and a retried block overwrites its first attempt.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

from selfreward_ray.credentials import masked
from selfreward_ray.errors import recurs
from selfreward_ray.inference.engine import EngineDead
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.programs import LanguageModel, P, Program
from selfreward_ray.inference.scoring import Score, ScoringModel
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.fetch import FetchProgress
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion, Dropped, Turn, Usage, Verdict
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.object_store import was_waited_for
from selfreward_ray.store.tables import write_block

T = TypeVar("T")

RETRY_DELAYS_S = (1.0, 5.0, 20.0)
"""Delays between attempts to read or write a block. After the last attempt the storage error ends the step."""


class ReplicaEngine(ScoringModel, Protocol):
    """The engine of a replica: a language model with statistics, which can be shut down."""

    stats: EngineStats

    def shutdown(self) -> None: ...


OpenEngine = Callable[[str, Inference, int, FetchProgress], ReplicaEngine]
"""Makes an engine from the model, the inference settings, the seed and a callback for the progress of the fetch. Tests
of the pool pass a stand-in."""


@dataclass(frozen=True)
class Job:
    """The work of replicas on the rows of a step: a program from `record` to `result`, and the output folder `out`."""

    step: str
    program: Program
    record: type[Any]
    result: type[Any]
    out: str
    row_tokens: int
    """Tokens that the smallest possible row requests at once, with replies of maximum length."""


@dataclass(frozen=True)
class BlockCounts:
    """Counts of finished rows. Prompt tokens are summed over requests.

    `cached_tokens` were in the prefix cache; None if an endpoint does not report them.
    """

    rows: int = 0
    dropped: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    generated_tokens: int = 0
    verdicts: int = 0
    invalid_verdicts: int = 0
    verdicts_asked_again: int = 0
    scores: dict[str, int] = field(default_factory=dict)
    """Number of verdicts by score, written as in ``4`` or ``3.5``."""

    def __add__(self, other: "BlockCounts") -> "BlockCounts":
        left, right = vars(self), vars(other)
        sums = {name: _sum((left[name], right[name])) for name in left if name != "scores"}
        return BlockCounts(**sums, scores=dict(Counter(self.scores) + Counter(other.scores)))


def _sum(counts: Iterable[int | None]) -> Any:
    """The sum of `counts`; None if one of them is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


class _MeteredModel(Generic[P]):
    """The language model as one row sees it: requests pass the limiter, and their tokens are counted."""

    def __init__(self, model: LanguageModel[P], limiter: TokenLimiter):
        self._model = model
        self._limiter = limiter
        self._row = limiter.next_row()
        self.prompt_tokens = 0
        self.cached_tokens: int | None = 0
        self.generated_tokens = 0

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> P:
        return self._model.encode(text, history, thinking)

    async def generate(self, prompt: P, sampling: Sampling, request_id: str, pattern: str | None = None) -> Completion:
        async with self._limiter.acquire(len(prompt) + sampling.max_tokens, self._row):
            completion = await self._model.generate(prompt, sampling, request_id, pattern)
        return self._counted(prompt, completion)

    @property
    def context(self) -> int:
        return self._scoring.context

    async def score(self, prompt: list[int], target: list[int], request_id: str) -> Score:
        tokens = len(prompt) + len(target)
        async with self._limiter.acquire(tokens + 1, self._row):
            score = await self._scoring.score(prompt, target, request_id)
        self.prompt_tokens += tokens
        return score

    async def complete(
        self, prompt: list[int], sampling: Sampling, until: Sequence[str], request_id: str
    ) -> Completion:
        async with self._limiter.acquire(len(prompt) + sampling.max_tokens, self._row):
            completion = await self._scoring.complete(prompt, sampling, until, request_id)
        return self._counted(prompt, completion)

    @property
    def _scoring(self) -> ScoringModel:
        """The model as the programs of benchmarks need it; a step that runs these is refused for an endpoint."""
        return cast(ScoringModel, self._model)

    def _counted(self, prompt: Sized, completion: Completion) -> Completion:
        usage = completion.usage or Usage(len(prompt), len(completion.token_ids))
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens = _sum((self.cached_tokens, completion.cached_tokens))
        self.generated_tokens += usage.generated_tokens
        return completion


async def run_row(record: Any, model: LanguageModel[Any], job: Job) -> Any:
    """Run the program on `record`. An exception drops the row with its message; only `EngineDead` is raised."""
    try:
        return await job.program(record, model)
    except EngineDead:
        raise
    except Exception as error:  # an error of one row must not affect the others
        return Dropped(record.id, job.step, masked(f"{type(error).__name__}: {error}"))


async def run_block(
    records: list[Any],
    model: LanguageModel[Any],
    job: Job,
    limiter: TokenLimiter,
    run: Callable[[Any, LanguageModel[Any], Job], Awaitable[Any]] = run_row,
) -> BlockCounts:
    """Run all `records` concurrently, and write the block's rows and its dropped rows.

    Raises `EngineDead`, and `OSError` when the storage still fails after all retries.
    """
    if not records:
        return BlockCounts()
    models = [_MeteredModel(model, limiter) for _ in records]
    outcomes = await asyncio.gather(*(run(record, own, job) for record, own in zip(records, models, strict=True)))
    kept = [o for o in outcomes if not isinstance(o, Dropped)]
    dropped = [o for o in outcomes if isinstance(o, Dropped)]
    ids = [record.id for record in records]
    await with_retries(write_block, Folder(job.out), ids, kept, job.result, dropped)
    verdicts = [verdict for row in kept for verdict in _verdicts(row)]
    return BlockCounts(
        rows=len(records),
        dropped=len(dropped),
        prompt_tokens=sum(m.prompt_tokens for m in models),
        cached_tokens=_sum(m.cached_tokens for m in models),
        generated_tokens=sum(m.generated_tokens for m in models),
        verdicts=len(verdicts),
        invalid_verdicts=sum(v.score is None for v in verdicts),
        verdicts_asked_again=sum(max(0, v.attempts - 1) for v in verdicts),
        scores=dict(Counter(f"{v.score:g}" for v in verdicts if v.score is not None)),
    )


async def with_retries(call: Callable[..., T], *arguments: Any) -> T:
    """Run `call` in a thread and return its result. An `OSError`, which means that storage failed, is retried, but not
    one that `recurs`, nor one for which the client of an object store has done so.

    Raises `OSError` when the last attempt fails too.
    """
    for wait in RETRY_DELAYS_S:
        try:
            return await asyncio.to_thread(call, *arguments)
        except OSError as error:
            if recurs(error) or was_waited_for(error):
                raise
            await asyncio.sleep(wait)
    return await asyncio.to_thread(call, *arguments)


def _verdicts(value: Any) -> Iterator[Verdict]:
    """All verdicts in a record, at any depth."""
    if isinstance(value, Verdict):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            if dataclasses.is_dataclass(item):
                yield from _verdicts(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _verdicts(getattr(value, field.name))
