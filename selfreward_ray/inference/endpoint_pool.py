"""An endpoint in the place of a pool: the driver sends a step's requests, and writes blocks as replicas do.

Each answer is stored as soon as it arrives, so that no answer is paid for twice after an interruption. A block is
written when all of its rows are finished, and the stored answers are removed when all blocks of the step are written.
"""

import asyncio
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import aiohttp

from selfreward_ray.inference.block import BlockCounts, run_block, with_retries
from selfreward_ray.inference.endpoint import ChatMessages, EndpointClient, read_key
from selfreward_ray.inference.endpoint_limits import Budget, Clock, EndpointStopped
from selfreward_ray.inference.limiter import TokenLimiter
from selfreward_ray.inference.partition import BlockSpec, partition_table, read_block, rows_in
from selfreward_ray.inference.pool import PoolStopped, Workload
from selfreward_ray.inference.programs import gather_or_cancel
from selfreward_ray.recipe.endpoint import Address, Endpoint, address_of
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, Turn
from selfreward_ray.store.arrow import from_rows
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder
from selfreward_ray.store.run import ANSWERS

DRAIN_S = 30.0
"""Seconds for which an interrupted step waits for answers to requests that are sent."""

T = TypeVar("T")
Finished = tuple[str, BlockCounts]


class StoredAnswers:
    """The answers of a step's endpoint, by the key of their request.

    `calls` and `tokens` count what earlier attempts left. Raises `UserError` for a damaged file. If storage fails after
    all retries, `get` and `put` raise `EndpointStopped`: the row must not be dropped for it.
    """

    def __init__(self, folder: Folder):
        self._folder = folder
        self._names = {path.rpartition("/")[2] for path in folder.files(".json")}
        with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
            self.tokens = sum(pool.map(lambda name: _tokens_of(self._read(name)), self._names))
        self.calls = len(self._names)

    async def get(self, key: str) -> Completion | None:
        name = f"{key}.json"
        return await self._with_storage(self._read, name) if name in self._names else None

    async def put(self, key: str, completion: Completion) -> None:
        await self._with_storage(self._folder.write_json, f"{key}.json", asdict(completion))

    def delete(self) -> None:
        self._folder.delete()

    async def _with_storage(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return await with_retries(call, *arguments)
        except OSError as error:
            raise EndpointStopped(f"its answers cannot be stored in {self._folder.uri}: {error}") from None

    def _read(self, name: str) -> Completion:
        (completion,) = from_rows([self._folder.read_json(name)], Completion)
        return completion


class EndpointModel:
    """A `LanguageModel` of messages over an endpoint, for one step: with its stored answers and its budget."""

    def __init__(self, client: EndpointClient, address: Address, settings: Endpoint, seed: int, step: Folder):
        self.reused = 0
        self.answers = StoredAnswers(step / ANSWERS)
        self._client = client
        self._identity = f"{address} {seed}"
        self._budget = Budget(settings.max_calls, settings.max_tokens, self.answers.calls, self.answers.tokens)

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> ChatMessages:
        assert thinking is None, "a step that sets thinking is refused"
        return ChatMessages((*history, Turn("user", text)))

    async def generate(
        self, prompt: ChatMessages, sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        """One completion, from storage if an earlier attempt received it. Raises as `EndpointClient.complete`, and
        `EndpointStopped` if the budget is spent.
        """
        assert pattern is None, "a step that constrains verdicts is refused"
        key = self._key(prompt, sampling, request_id)
        if stored := await self.answers.get(key):
            self.reused += 1
            return stored

        async def keep(completion: Completion) -> None:
            await self.answers.put(key, completion)

        reserved, used = len(prompt) + sampling.max_tokens, None
        await self._budget.reserve(reserved)
        try:
            completion = await self._client.complete(prompt, sampling, request_id, keep)
            used = _tokens_of(completion)
        finally:
            self._budget.settle(reserved, used)
        return completion

    def _key(self, prompt: ChatMessages, sampling: Sampling, request_id: str) -> str:
        """Names an answer: the request, and which of several equal ones it is, which `request_id` tells."""
        parts = [self._identity, request_id, sampling.model_dump(), [asdict(turn) for turn in prompt.turns]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class EndpointPool:
    """The interface of a `Pool`, in the driver's process. Created by `open_endpoint`."""

    def __init__(
        self,
        model: str,
        settings: Endpoint,
        rows_per_block: int,
        seed: int,
        note: Callable[[str], None],
        clock: Clock,
    ):
        self._address = address_of(model)
        self._settings = settings
        self._rows_per_block = rows_per_block
        self._seed = seed
        self._note = note
        self._clock = clock
        self._faults: Counter[str] = Counter()

    def run(self, workloads: Sequence[Workload]) -> Generator[Finished, None, None]:
        """Run the rows of `workloads`, in this order. Yields each finished block's counts with the `out` of its job.

        Requests are sent from a thread of their own, so that the caller may take its time between blocks. Raises
        `PoolStopped` when the endpoint answers no further requests, or the budget is spent.
        """
        specs = [
            (number, spec)
            for number, workload in enumerate(workloads)
            for spec in partition_table(workload.rows, workload.finished, self._rows_per_block)
        ]
        if not specs:
            return
        finished: SimpleQueue[Finished | BaseException | None] = SimpleQueue()
        running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            running.set_result((asyncio.get_running_loop(), task))
            await self._run(workloads, specs, finished.put)

        def thread() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                finished.put(error)
            else:
                finished.put(None)

        requests = Thread(target=thread, daemon=True)
        requests.start()
        rows = 0
        try:
            while (item := finished.get()) is not None:
                if isinstance(item, EndpointStopped):
                    raise PoolStopped(self._explained(item, rows, workloads, [spec for _, spec in specs]))
                if isinstance(item, BaseException):
                    raise item
                rows += item[1].rows
                yield item
        finally:
            loop, task = running.result()
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(task.cancel)
            requests.join()

    def summary(self) -> dict[str, int]:
        """Faults since the previous call, for a step's manifest."""
        counts = {name: self._faults[name] for name in ("endpoint_retries", "answers_reused")}
        self._faults.clear()
        return counts

    async def _run(
        self,
        workloads: Sequence[Workload],
        specs: list[tuple[int, BlockSpec]],
        put: Callable[[Finished], None],
    ) -> None:
        settings = self._settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        connector = aiohttp.TCPConnector(limit=settings.concurrency)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            client = EndpointClient(self._address, settings, session, self._seed, self._note, self._clock)
            models = [
                EndpointModel(client, self._address, settings, self._seed, Folder(workload.job.out))
                for workload in workloads
            ]
            limiter = TokenLimiter(sys.maxsize, settings.concurrency)
            unfinished = Counter(number for number, _ in specs)
            waiting = iter(specs)

            async def work() -> None:
                for number, spec in waiting:
                    job, model = workloads[number].job, models[number]
                    records = await read_block(spec, workloads[number].rows, job.record)
                    counts = await run_block(records, model, job, limiter)
                    unfinished[number] -= 1
                    if not unfinished[number]:
                        await asyncio.to_thread(model.answers.delete)
                    self._faults["endpoint_retries"] += client.retries
                    self._faults["answers_reused"] += model.reused
                    client.retries = model.reused = 0
                    put((job.out, counts))

            # A row has at least one request at a time.
            blocks = math.ceil(settings.concurrency / self._rows_per_block) + 1
            try:
                await gather_or_cancel(work() for _ in range(blocks))
            finally:
                await client.drain(DRAIN_S)

    def _explained(
        self, error: EndpointStopped, rows: int, workloads: Sequence[Workload], specs: list[BlockSpec]
    ) -> str:
        earlier = sum(len(workload.finished) for workload in workloads)
        return (
            f"endpoint {self._address}: {error}. {earlier + rows} of {earlier + rows_in(specs)} rows are finished; "
            "these, and answers to requests of the others, are kept, and the same command continues from here"
        )


@contextmanager
def open_endpoint(
    model: str,
    settings: Endpoint,
    rows_per_block: int,
    seed: int,
    note: Callable[[str], None] = lambda _text: None,
    clock: Clock | None = None,
) -> Iterator[EndpointPool]:
    """The endpoint `model` as a pool. `note` receives what it waits for.

    Raises `UserError` for a malformed address, and for a key that cannot be part of a request.
    """
    read_key(settings)
    yield EndpointPool(model, settings, rows_per_block, seed, note, clock or Clock())


def _tokens_of(completion: Completion) -> int:
    usage = completion.usage
    assert usage is not None, "an endpoint's completions have their usage"
    return usage.prompt_tokens + usage.generated_tokens
