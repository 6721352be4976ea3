"""The pool: Ray Data streams rows through an actor pool of vLLM replicas that run a program on each."""

import math
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.data.expressions import col
from ray.exceptions import RayActorError
from ray.util.annotations import RayDeprecationWarning

from selfreward_ray.cluster.placement import on_driver_node
from selfreward_ray.cluster.room import Ask, check_room, request
from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Block, Job
from selfreward_ray.inference.ledger import Ledger
from selfreward_ray.inference.placement import placed
from selfreward_ray.inference.replica import Replica
from selfreward_ray.models import portable
from selfreward_ray.recipe import Inference
from selfreward_ray.storage import Folder

# Light operators take next to no CPU: on two cores a replica and its reader must both get theirs, or Ray Data
# waits for ever without a word.
LIGHT_CPUS = 0.05


class PoolStopped(UserError):
    """A pool that can not go on; the message has the engine's own error."""


class Pool:
    """Replicas of one model, for one job. Made by `open_pool`."""

    def __init__(self, model: str, inference: Inference, job: Job, ledger: Any):
        self._model = portable(model, adapters=True)
        self._inference = inference
        self._job = job
        self._ledger = ledger

    def run(self, rows: Folder, finished: set[str]) -> Generator[Block, None, None]:
        """Stream the table `rows` through the pool, leaving out ids already `finished`; yields each block's counts.

        Raises `PoolStopped` where the replicas can not go on.
        """
        dataset = read_table(rows, self._inference.rows_per_block)
        if finished:
            dataset = dataset.filter(expr=col("id").not_in(list(finished)), num_cpus=LIGHT_CPUS)
        return self.stream(dataset)

    def stream(self, dataset: ray.data.Dataset) -> Generator[Block, None, None]:
        """Run the job on every block of `dataset`, as it is cut, and yield each block's counts when it is written."""
        # Without prefetching: it would hold back a finished block until the next one is finished too, and a pool that
        # is asked in rounds has no next one yet.
        with placed(self._inference) as resources, self._explained():
            counts = self._counts(dataset, resources)
            for batch in counts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    yield Block(**row)

    def summary(self) -> dict[str, int]:
        """Restarts and retries, for the step's manifest."""
        counts: dict[str, int] = ray.get(self._ledger.summary.remote())
        return counts

    def _counts(self, dataset: ray.data.Dataset, resources: dict[str, Any]) -> ray.data.Dataset:
        inference = self._inference
        rows = math.ceil(inference.tokens_in_flight / self._job.row_tokens)
        # One block more than fill the engine: the next is there when one ends.
        in_flight = math.ceil(rows / inference.rows_per_block) + 1
        # `runtime_env` has no other way in.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        dataset.context.execution_no_progress_timeout_s = inference.stall_seconds
        # The pool grows when all places are taken. Ray's own mark lies above that: it counts on tasks that queue in
        # actors, and ours wait outside, where a new replica finds them.
        dataset.context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
        arguments = {"model": self._model, "inference": inference, "job": self._job, "ledger": self._ledger}
        return dataset.map_batches(
            Replica,
            fn_constructor_kwargs=arguments,
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                min_size=inference.min_replicas,
                max_size=inference.max_replicas,
                max_tasks_in_flight_per_actor=in_flight,
                max_concurrent_calls_per_actor=in_flight,
            ),
            runtime_env={"env_vars": inference.env},
            **resources,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What ended the dataset, in the words of the replica that ended it."""
        try:
            yield
        except (RayActorError, ExecutionTimeoutError) as error:
            ended, last, came_up = ray.get(self._ledger.why.remote())
            if ended:
                raise PoolStopped(ended) from None
            if isinstance(error, RayActorError):
                raise
            raise PoolStopped(
                f"nothing moved for {self._inference.stall_seconds:g} s (inference.stall_seconds): "
                + ("no block was finished" if came_up else "no engine came up")
                + f"; {last or 'Ray may have no place for a replica, or a block or an engine takes longer'}"
            ) from None


@contextmanager
def open_pool(model: str, inference: Inference, job: Job) -> Iterator[Pool]:
    """A pool whose engines start with the first rows. Raises `UserError` when the cluster can never hold one."""
    # One CPU beside the replicas feeds them: Ray Data waits for ever without a word where it finds none.
    check_room(_ask(inference), spare_cpus=1)
    ledger = on_driver_node(Ledger, inference.max_restarts)
    try:
        yield Pool(model, inference, job, ledger)
    finally:
        ray.kill(ledger)


def _ask(inference: Inference) -> Ask:
    """The least that a pool needs: an actor a replica, or one bundle a GPU where it has several nodes."""
    cpus, gpus, each = inference.cpus_per_replica, inference.gpus_per_replica, 1
    if inference.nodes_per_replica > 1:
        cpus, gpus, each = cpus / gpus, 1, gpus * inference.nodes_per_replica
    bundle = request(cpus, gpus, inference.accelerator_type)
    return Ask("one replica", "inference.min_replicas", inference.min_replicas, (bundle,) * each)


def read_table(rows: Folder, rows_per_block: int) -> ray.data.Dataset:
    """A table of a step as a stream of small blocks, however large its files are."""
    filesystem, path = rows.filesystem()
    files = ray.data.read_parquet(path, filesystem=filesystem, num_cpus=LIGHT_CPUS)
    return files.repartition(target_num_rows_per_block=rows_per_block)
