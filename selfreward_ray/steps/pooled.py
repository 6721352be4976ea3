"""Common parts of the steps that run on a pool of replicas: resume, progress and counts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.inference import pool
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.endpoint_pool import open_endpoint
from selfreward_ray.inference.health import GIVEN_UP
from selfreward_ray.inference.pool import Workload
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.formatting import amount
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.steps.asked_model import JUDGING_STEPS, check_endpoint, check_thinking
from selfreward_ray.steps.live import LiveMetrics
from selfreward_ray.steps.so_far import SoFar
from selfreward_ray.store.blocks import BLOCKS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import TakenOver
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import count_reasons, finished_ids, holds_rows, recorded_rows


@dataclass(frozen=True)
class PooledStep:
    """A step whose rows are produced by replicas of `model`, or by an endpoint; `run_pooled` runs it."""

    step: Step
    job: Job
    recipe: Recipe
    model: str
    rows: Folder
    """The input table."""
    unit: str
    label: str
    refused: int = 0
    """Number of input rows that the step has dropped itself: they are in its table `dropped` and not in `rows`."""
    measure: Callable[[], dict[str, Any]] = dict
    """Computes the manifest's metrics when all rows are written."""


def run_pooled(
    *steps: PooledStep, open_pool: Callable[..., Any] | None = None, then: Callable[[int], None] | None = None
) -> list[Manifest]:
    """Finish `steps`, all of the same model. The engines start once, and continue from one step to the next without a
    pause. A step is finished as soon as all of its rows are written; rows of an earlier attempt are kept.

    `then` is called with the place of each step that is finished. If it raises, the engines stop, and the rows that
    later steps have written by then are kept.
    """
    for step in steps:
        check_endpoint(step.model, step.recipe, only_judges=step.step.name in JUDGING_STEPS)
    unfinished = [step for step in steps if not step.step.is_done()]
    for step in unfinished:
        check_thinking(step.model, step.recipe, step.step.name)
    manifests = []
    with ExitStack() as engines:
        shared = _SharedPool(unfinished, engines, open_pool or pool.open_pool)
        try:
            for place, step in enumerate(steps):
                if step in unfinished:
                    manifests.append(_run(step, shared))
                else:
                    skipped(step.label)
                    manifests.append(step.step.manifest())
                if then is not None:
                    then(place)
        except TakenOver:
            raise
        except BaseException:
            shared.write_sums()
            raise
    return manifests


def _run(pooled: PooledStep, shared: "_SharedPool") -> Manifest:
    step, out = pooled.step, pooled.job.out
    shared.begin(out)
    so_far = shared.so_far[out]
    tokens_before = so_far.counted.generated_tokens
    asked = recorded_rows(pooled.rows)
    offered = asked + pooled.refused
    with Progress(pooled.label, asked, pooled.unit) as progress:  # what was refused may be parts of a row

        def show() -> None:
            done = max(0, shared.done(out) - pooled.refused)
            progress.update(done, so_far.counted.generated_tokens - tokens_before)

        show()
        live = LiveMetrics(progress, tokens_before)
        while shared.done(out) < offered and shared.next_block(progress):
            show()
            live.update(so_far.counted, shared.done(out), offered)
        _check_some_kept(pooled, offered, shared)
        counted = so_far.total
        faults = so_far.faults(shared.faults())
        if pooled is shared.last:
            shared.close()  # `measure` may take long, and needs no engine
        metrics = {"model": pooled.model, **figures(counted), **faults, **pooled.measure()}
        manifest = step.finish(offered=offered, tokens=counted.generated_tokens, metrics=metrics)
        shared.finished(out)
        progress.aside(faults_in_words(manifest))
        return manifest


class _SharedPool:
    """The pool shared by several steps, opened on first use, and its counts for each step by `out`."""

    def __init__(self, steps: Sequence[PooledStep], engines: ExitStack, open_pool: Callable[..., Any]) -> None:
        self.so_far = {step.job.out: SoFar(step.step) for step in steps}
        self._not_begun = set(self.so_far)
        self.last = steps[-1] if steps else None
        self._workloads = [Workload(step.job, step.rows, finished_ids(step.step.folder)) for step in steps]
        self._resumed = {workload.job.out: len(workload.finished) for workload in self._workloads}
        self._steps = steps
        self._engines = engines
        self._open_pool = open_pool
        self._pool: Any = None
        self._blocks: Iterator[tuple[str, BlockCounts]] = iter(())
        self._progress: Progress | None = None

    def begin(self, out: str) -> None:
        """A step's time counts from its turn, or from its first block if that is finished before."""
        if out in self._not_begun:
            self._not_begun.remove(out)
            self.so_far[out].begin()

    def done(self, out: str) -> int:
        """Number of finished rows of a step, those of earlier attempts included."""
        return self._resumed[out] + self.so_far[out].counted.rows

    def next_block(self, progress: Progress) -> bool:
        """Wait for the next block of any step; False if there is none. Notes of the pool go to `progress`."""
        self._progress = progress
        if self._pool is None:
            self._pool = self._engines.enter_context(self._opened(progress))
            self._blocks = self._engines.enter_context(closing(self._pool.run(self._workloads)))
        for out, block in self._blocks:
            self.begin(out)
            self.so_far[out].counted += block
            self.so_far[out].beat(self.done(out), self.faults)
            progress.note("")
            return True
        return False

    def _opened(self, progress: Progress) -> Any:
        first = self._steps[0]
        recipe = first.recipe
        if is_endpoint(first.model):
            progress.note("waiting for the endpoint")
            return open_endpoint(first.model, recipe.endpoint, recipe.inference.rows_per_block, recipe.seed, self._note)
        progress.note("starting the engine")
        return self._open_pool(first.model, recipe.inference, recipe.seed, self._note)

    def emptied(self, out: str) -> None:
        """The rows of a step were removed: what they cost is still counted."""
        self._resumed[out] = -self.so_far[out].counted.rows

    def finished(self, out: str) -> None:
        """A step has its manifest."""
        del self.so_far[out]

    def write_sums(self) -> None:
        """After an error, of the steps that are begun and have no manifest yet."""
        for out, so_far in self.so_far.items():
            if out not in self._not_begun:
                so_far.write_after_error(self.done(out))

    def close(self) -> None:
        self._engines.close()

    def faults(self) -> dict[str, float]:
        faults: dict[str, float] = self._pool.summary() if self._pool else {}
        return faults

    def _note(self, text: str) -> None:
        if self._progress:
            self._progress.note(text)


def figures(counted: BlockCounts) -> dict[str, Any]:
    """Counts for a manifest."""
    counts = {name: count for name, count in vars(counted).items() if name not in ("rows", "dropped", "scores")}
    counts["scores"] = dict(sorted(counted.scores.items(), key=lambda item: float(item[0])))
    cached, asked = counted.cached_tokens, counted.prompt_tokens
    hit_rate = round(cached / asked, 4) if asked and cached is not None else None
    return {**counts, "prefix_hit_rate": hit_rate}


def faults_in_words(manifest: Manifest) -> str:
    """What died in a step: replicas by themselves, replicas with their nodes, and rows that ended replicas."""
    died = [
        (manifest.metrics.get("engine_restarts", 0), "replica", "restarted"),
        (manifest.metrics.get("replicas_lost", 0), "replica", "lost with a node"),
        (manifest.dropped.get(GIVEN_UP, 0), "row", "dropped that ended replicas"),
    ]
    return ", ".join(f"{amount(count, unit)} {what}" for count, unit, what in died if count)


def _check_some_kept(pooled: PooledStep, offered: int, shared: _SharedPool) -> None:
    """Raise `UserError` if every row failed, which means a wrong setting. The step stays unfinished, for a retry."""
    step = pooled.step
    if offered and not holds_rows(step.folder / "rows"):
        reasons = count_reasons(step.folder / "dropped")
        (step.folder / BLOCKS).delete()
        (step.folder / "dropped").delete()
        shared.emptied(pooled.job.out)
        raise UserError(f"{pooled.label}: every row failed, most often with: {reasons.most_common(1)[0][0]}")
