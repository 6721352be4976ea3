"""Steps of the same model share its engines, with the same results as alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted_model import ScriptedModel, block_of, pool_of

from selfreward_ray.errors import UserError
from selfreward_ray.inference.pool import Workload
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet, JudgedPrompt, Prompt, RankedReply, RankedSet
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.pooled import PooledStep, run_pooled
from selfreward_ray.steps.respond import respond
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

RECIPE = Recipe.model_validate(
    {
        "model": "m0",
        "seed": 11,
        "respond": {"candidates": 2},
        "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
        "inference": {"rows_per_block": 1},
    }
)
SETS = [
    RankedSet(f"s{i}", "Why?", (RankedReply(f"s{i}/r0", "So.", 0), RankedReply(f"s{i}/r1", "No.", 1))) for i in (0, 1)
]
PROMPTS = [Prompt(f"p{i}", f"Prompt {i}?") for i in range(3)]


def answer(text: str, row: str) -> str:
    return "Score: 4" if "/v" in row else "a reply"


@pytest.fixture
def steps(tmp_path: Path) -> Callable[[], tuple[PooledStep, PooledStep]]:
    """A model's evaluation on two sets, and its answers to three prompts."""
    for name, folder, record, rows, table in (
        ("seed", "seed", RankedSet, SETS, "held_out"),
        ("propose", "prompts", Prompt, PROMPTS, "rows"),
    ):
        made = Step(name, str(tmp_path / folder), {}, {})
        made.is_done()
        made.write(rows, record, table)
        made.finish(offered=len(rows), kept=len(rows))
    seeds, prompts = str(tmp_path / "seed"), str(tmp_path / "prompts")
    return lambda: (
        evaluate(RECIPE, model="m1", seed_data=seeds, out=str(tmp_path / "evaluation")),
        respond(RECIPE, model="m1", prompts=prompts, out=str(tmp_path / "judged")),
    )


class Watched:
    """A pool that runs the blocks of its workloads one by one, and records which steps are finished before each."""

    def __init__(self, *folders: Path):
        self.opened: list[tuple[Any, ...]] = []
        self.finished: list[list[str]] = []
        self._folders = folders
        self._faults = 0

    @contextmanager
    def __call__(self, *arguments: Any) -> Iterator["Watched"]:
        self.opened.append(arguments[:3])
        self.open = True
        yield self
        self.open = False

    def run(self, workloads: Sequence[Workload]) -> Iterator[Any]:
        turns = [(job, row) for job, rows, _ in workloads for row in from_table(pq.read_table(rows.uri), job.record)]
        turns[1], turns[2] = turns[2], turns[1]  # an answer is finished before the evaluation
        for job, row in turns:
            self.finished.append([folder.name for folder in self._folders if (folder / "manifest.json").exists()])
            self._faults += 1
            yield job.out, block_of([row], ScriptedModel(answer), job)

    def summary(self) -> dict[str, int]:
        faults, self._faults = self._faults, 0
        return {"engine_restarts": faults}


def test_engines_start_once_and_a_step_is_finished_as_soon_as_its_rows_are_there(tmp_path: Path, steps: Any):
    pool = Watched(tmp_path / "evaluation", tmp_path / "judged")
    evaluated, answered = run_pooled(*steps(), open_pool=pool)
    assert pool.opened == [("m1", RECIPE.inference, 11)]
    assert pool.finished == [[], [], [], ["evaluation"], ["evaluation"]]
    assert (evaluated.step, evaluated.rows, evaluated.metrics["verdicts"]) == ("evaluate", {"rows": 2}, 4)
    assert (answered.step, answered.rows, answered.metrics["verdicts"]) == ("respond", {"rows": 3}, 6)
    assert (evaluated.metrics["engine_restarts"], answered.metrics["engine_restarts"]) == (3, 2)
    assert evaluated.tokens == 2 * (len("a reply") + 2 * len("Score: 4"))
    assert answered.tokens == 3 * 2 * (len("a reply") + len("Score: 4"))


def test_each_step_has_the_rows_that_it_has_alone(tmp_path: Path, steps: Any):
    def made() -> list[list[Any]]:
        tables = {"evaluation": EvaluatedSet, "judged": JudgedPrompt}
        rows = [read_rows(Folder(str(tmp_path / name)), record) for name, record in tables.items()]
        return [sorted(table, key=lambda row: row.id) for table in rows]

    run_pooled(*steps(), open_pool=Watched())
    shared = made()
    for name in ("evaluation", "judged"):
        Folder(str(tmp_path / name)).delete()
    for step in steps():
        run_pooled(step, open_pool=pool_of(ScriptedModel(answer)))
    assert made() == shared


def test_after_an_interruption_only_what_is_missing_is_asked(tmp_path: Path, steps: Any):
    """Stopped with the evaluation done and one of three prompts answered."""
    with pytest.raises(KeyboardInterrupt):
        run_pooled(*steps(), open_pool=pool_of(ScriptedModel(answer), stop_after=3))
    assert read_manifest(Folder(str(tmp_path / "evaluation"))) is not None
    assert read_manifest(Folder(str(tmp_path / "judged"))) is None
    again = ScriptedModel(answer)
    run_pooled(*steps(), open_pool=pool_of(again))
    assert {row.partition("/")[0] for row in again.asked} == {"p1", "p2"}
    third = ScriptedModel(answer)
    run_pooled(*steps(), open_pool=pool_of(third))
    assert third.asked == []


def test_rows_lost_by_a_pool_are_an_error(steps: Any):
    """A pool that ends before its rows are done."""

    class Short(Watched):
        def run(self, workloads: Sequence[Workload]) -> Iterator[Any]:
            yield from islice(super().run(workloads), 1)

    with pytest.raises(RuntimeError, match="was offered 2 rows but kept 1 and dropped 0"):
        run_pooled(*steps(), open_pool=Short())


def test_an_evaluation_that_fails_ends_the_step_that_shares_its_pool(tmp_path: Path, steps: Any):
    evaluation, answers = steps()
    evaluation = replace(evaluation, measure=lambda: (_ for _ in ()).throw(UserError("the judge cannot judge")))
    with pytest.raises(UserError, match="cannot judge"):
        run_pooled(evaluation, answers, open_pool=pool_of(ScriptedModel(answer)))
    assert not (tmp_path / "judged" / "rows").exists()


def test_the_last_steps_measurements_hold_no_engine(steps: Any):
    """A scorer may take hours, and GPUs cost money. During the first step's the engines work on for the second."""
    pool, seen = Watched(), []
    watched = [replace(step, measure=lambda: seen.append(pool.open) or {}) for step in steps()]
    run_pooled(*watched, open_pool=pool)
    assert seen == [True, False]
