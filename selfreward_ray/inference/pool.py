"""The pool: Ray Data streams rows through an actor pool of vLLM replicas that run a program on each.

A replica writes each finished block to storage itself and returns only counts, so the driver's memory does
not grow with the rows, finished work survives the driver, and a block that is retried overwrites itself.
"""

import asyncio
import math
import os
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.util.annotations import RayDeprecationWarning

from selfreward_ray.cluster_session import check_room
from selfreward_ray.inference.engine import Engine, EngineDead
from selfreward_ray.inference.programs import LanguageModel, Program
from selfreward_ray.models import local_model, portable
from selfreward_ray.recipe import Inference, Sampling
from selfreward_ray.records import Completion, Dropped
from selfreward_ray.run_store import write_block
from selfreward_ray.storage import Folder
from selfreward_ray.tables import from_table

# Light operators take next to no CPU: on two cores a replica and its reader must both get theirs, or Ray Data
# waits for ever without a word.
LIGHT_CPUS = 0.05


@dataclass(frozen=True)
class Job:
    """What every replica of a pool runs: a program from records to records, and where its rows go."""

    step: str
    program: Program
    record: type[Any]
    result: type[Any]
    out: str
    seed: int


@dataclass(frozen=True)
class Block:
    """Counts of one finished block; prompt tokens count each request's prompt, cached or not."""

    rows: int
    prompt_tokens: int
    generated_tokens: int


class _Counted:
    """A language model that counts the tokens of one block."""

    def __init__(self, model: LanguageModel):
        self._model = model
        self.encode = model.encode
        self.prompt_tokens = 0
        self.generated_tokens = 0

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        completion = await self._model.generate(prompt_ids, sampling, request_id, pattern)
        self.prompt_tokens += len(prompt_ids)
        self.generated_tokens += len(completion.token_ids)
        return completion


class Replica:
    """One actor of the pool: owns one engine and runs the program on many rows at a time."""

    def __init__(self, model: str, inference: Inference, job: Job):
        self._job = job
        self._engine = Engine(local_model(model), inference, job.seed)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        try:
            block = await run_block(from_table(batch, self._job.record), self._engine, self._job)
        except EngineDead:
            # Ray Data retries a block only when its actor died; an exception would end the whole dataset.
            os._exit(1)
        return pa.Table.from_pylist([asdict(block)])

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()


async def run_block(records: list[Any], model: LanguageModel, job: Job) -> Block:
    """Run the program on every record at once and write the block's rows and its dropped rows.

    A row that fails is dropped with its error; it does not end its block. `EngineDead` is raised.
    """
    if not records:
        return Block(0, 0, 0)
    counted = _Counted(model)
    outcomes = await asyncio.gather(*(_row(record, counted, job) for record in records))
    kept = [o for o in outcomes if not isinstance(o, Dropped)]
    dropped = [o for o in outcomes if isinstance(o, Dropped)]
    ids = [record.id for record in records]
    await asyncio.to_thread(write_block, Folder(job.out), ids, kept, job.result, dropped)
    return Block(len(records), counted.prompt_tokens, counted.generated_tokens)


async def _row(record: Any, model: LanguageModel, job: Job) -> Any:
    try:
        return await job.program(record, model)
    except EngineDead:
        raise
    except Exception as error:  # whatever a row does wrong is that row's fate alone
        return Dropped(record.id, job.step, f"{type(error).__name__}: {error}")


def run_pool(rows: Folder, finished: set[str], model: str, inference: Inference, job: Job) -> Iterator[Block]:
    """Stream the table `rows` through the pool, leaving out ids already `finished`; yields each block's counts.

    Raises `UserError` when the cluster can never hold one replica.
    """
    dataset = read_table(rows, inference.rows_per_block)
    if finished:
        dataset = dataset.filter(partial(_unfinished, finished=finished), num_cpus=LIGHT_CPUS)
    yield from stream_blocks(dataset, model, inference, job)


def stream_blocks(
    dataset: ray.data.Dataset, model: str, inference: Inference, job: Job
) -> Generator[Block, None, None]:
    """Run `job` on every block of `dataset`, as it is cut, and yield each block's counts when it is written."""
    # One CPU beside the replicas feeds them: Ray Data waits for ever without a word where it finds none.
    wanted = inference.cpus_per_replica, inference.gpus_per_replica
    check_room(inference.min_replicas, *wanted, "one replica", "inference.min_replicas", spare_cpus=1)
    in_flight = math.ceil(inference.rows_in_flight / inference.rows_per_block)
    # The bound on restarts has no other way in, and no named parameter in Ray 2.60.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
    counts = dataset.map_batches(
        Replica,
        fn_constructor_kwargs={"model": portable(model), "inference": inference, "job": job},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            min_size=inference.min_replicas,
            max_size=inference.max_replicas,
            max_tasks_in_flight_per_actor=in_flight,
            max_concurrent_calls_per_actor=in_flight,
        ),
        num_cpus=inference.cpus_per_replica,
        num_gpus=inference.gpus_per_replica,
        accelerator_type=inference.accelerator_type,
        max_restarts=inference.max_restarts,
        runtime_env={"env_vars": inference.env},
    )
    # Without prefetching: it would hold back a finished block until the next one is finished too, and a pool that is
    # asked in rounds has no next one yet.
    for batch in counts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for row in batch.to_pylist():
            yield Block(**row)


def read_table(rows: Folder, rows_per_block: int) -> ray.data.Dataset:
    """A table of a step as a stream of small blocks, however large its files are."""
    filesystem, path = rows.filesystem()
    files = ray.data.read_parquet(path, filesystem=filesystem, num_cpus=LIGHT_CPUS)
    return files.repartition(target_num_rows_per_block=rows_per_block)


def _unfinished(row: dict[str, Any], finished: set[str]) -> bool:
    return row["id"] not in finished
