"""What the steps that run on the pool of replicas share: resume, progress, counts."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.inference import pool
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.pool import Workload
from selfreward_ray.judging.rubric import Rubric, load_pairwise, load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import count_reasons, count_rows, finished_ids


def judging(recipe: Recipe, *, pairwise: bool = False) -> tuple[Rubric, dict[str, Any]]:
    """The rubric, and what of the recipe decides a verdict: the part of a step's fingerprint that judging adds.

    The rubric judges one reply, or where `pairwise` is set compares two. Raises `RubricError` before an engine is
    started for a rubric that can not be used so.
    """
    judge = recipe.judge
    rubric = load_pairwise(judge.pairwise_rubric) if pairwise else load_rubric(judge.rubric)
    if judge.constrained:
        rubric.constrained_pattern(0)
    read = judge.model_dump(exclude={"rubric" if pairwise else "pairwise_rubric"})
    return rubric, {"judge": read, "rubric": rubric.model_dump(), "seed": recipe.seed}


@dataclass(frozen=True)
class PooledStep:
    """A step whose rows are made by replicas of `model`, for `run_pooled`."""

    step: Step
    job: Job
    recipe: Recipe
    model: str
    rows: Folder
    """The table of the rows that are offered."""
    unit: str
    label: str
    refused: int = 0
    """Rows that the step itself dropped before: they stand in `dropped`, not in `rows`."""
    measure: Callable[[], dict[str, Any]] = dict
    """Makes the manifest's metrics once all rows are written."""


def run_pooled(*steps: PooledStep, open_pool: Callable[..., Any] | None = None) -> list[Manifest]:
    """Finish `steps`, all of one model, whose engines are started once, and go from one step's rows to the next one's
    without a pause. A step is finished as soon as its rows are there; those of an earlier attempt are not made again.
    """
    unfinished = [step for step in steps if not step.step.is_done()]
    manifests = []
    with ExitStack() as engines:
        shared = _SharedPool(unfinished, engines, open_pool or pool.open_pool)
        for step in steps:
            if step in unfinished:
                manifests.append(_run(step, shared))
            else:
                skipped(step.label)
                manifests.append(step.step.manifest())
    return manifests


def _run(pooled: PooledStep, shared: "_SharedPool") -> Manifest:
    step, out = pooled.step, pooled.job.out
    step.begin()
    offered = count_rows(pooled.rows) + pooled.refused
    with Progress(pooled.label, offered, pooled.unit) as progress:
        progress.update(shared.done(out))
        while shared.done(out) < offered and shared.next_block(progress):
            progress.update(shared.done(out), shared.counted[out].generated_tokens)
        _check_some_kept(step, offered, pooled.label)
        counted = shared.counted[out]
        metrics = {**figures(counted), **shared.faults(), **pooled.measure()}
        return step.finish(offered=offered, tokens=counted.generated_tokens, metrics=metrics)


class _SharedPool:
    """The pool of some steps, opened when the first of them has rows to make; what it has done for each, by `out`."""

    def __init__(self, steps: Sequence[PooledStep], engines: ExitStack, open_pool: Callable[..., Any]) -> None:
        self.counted = {step.job.out: BlockCounts() for step in steps}
        self._workloads = [Workload(step.job, step.rows, finished_ids(step.step.folder)) for step in steps]
        self._before = {work.job.out: len(work.finished) for work in self._workloads}
        self._steps = steps
        self._engines = engines
        self._open_pool = open_pool
        self._pool: Any = None
        self._blocks: Iterator[tuple[str, BlockCounts]] = iter(())
        self._progress: Progress | None = None

    def done(self, out: str) -> int:
        return self._before[out] + self.counted[out].rows

    def next_block(self, progress: Progress) -> bool:
        """Wait for a block of any of the steps, if there is one; `progress` is told what the pool does meanwhile."""
        self._progress = progress
        if self._pool is None:
            progress.note("starting the engine")
            first = self._steps[0]
            pool_open = self._open_pool(first.model, first.recipe.inference, first.recipe.seed, self._note)
            self._pool = self._engines.enter_context(pool_open)
            self._blocks = self._engines.enter_context(closing(self._pool.run(self._workloads)))
        for out, block in self._blocks:
            self.counted[out] += block
            progress.note("")
            return True
        return False

    def faults(self) -> dict[str, int]:
        faults: dict[str, int] = self._pool.summary() if self._pool else {}
        return faults

    def _note(self, text: str) -> None:
        if self._progress:
            self._progress.note(text)


def figures(counted: BlockCounts) -> dict[str, Any]:
    """What a manifest says of the blocks that were run: all of them, or those since an interruption."""
    counts = {name: count for name, count in dataclasses.asdict(counted).items() if name not in ("rows", "dropped")}
    hit_rate = round(counted.cached_tokens / counted.prompt_tokens, 4) if counted.prompt_tokens else None
    return {**counts, "prefix_hit_rate": hit_rate}


def _check_some_kept(step: Step, offered: int, label: str) -> None:
    """A step in which every row failed is a setting gone wrong: it is not finished, so that it can be done again."""
    if offered and not count_rows(step.folder / "rows"):
        reasons = count_reasons(step.folder / "dropped")
        (step.folder / "dropped").delete()
        raise UserError(f"{label}: every row failed, most often with: {reasons.most_common(1)[0][0]}")
