"""When the ranks of a group end for another group to go on: the loop of `worker`, without a model and without Ray."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ranks import Silent

from selfreward_ray.recipe.training import Sft, Training
from selfreward_ray.records import SftTokens
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.elastic import Left
from selfreward_ray.training.history import History
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("one_rank")]

STEPS = 6
ROWS = [SftTokens(f"r{i}", (1, 2), (3, 4)) for i in range(STEPS)]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take the steps of a training; how it ended, the steps done, and after which of them there were checkpoints."""
    from selfreward_ray.training import worker

    def do(
        *, notice: int = 0, room: int = 0, min_workers: int | None = 1, every: int = 4, done: int = 0
    ) -> tuple[Any, int, list[int]]:
        history = History([{"step": step, "skipped": False} for step in range(done)])
        saved: list[int] = []
        sft = Sft(batch_size=1)
        training = Training(workers=2, min_workers=min_workers, checkpoint_every=every)
        job = TrainJob("SFT", "m", "out", SftObjective(), sft, training, 0, "run", Silent())

        def notices() -> Any:
            return SimpleNamespace(preempted_node_ids=["a"]) if notice and history.done >= notice else None

        monkeypatch.setattr("ray.train.get_preemption_info", notices)
        monkeypatch.setattr(worker, "has_room", lambda job: bool(room) and history.done >= room)
        monkeypatch.setattr(worker, "save", lambda engine, history, *_, **__: saved.append(history.done))
        monkeypatch.setattr(worker, "take_step", lambda *_: {"loss": 1.0})
        monkeypatch.setattr(worker, "set_rate", lambda *_: 0.1)
        monkeypatch.setattr(worker, "Gauges", lambda *_: SimpleNamespace(of=lambda *_: {"tokens": 4}))
        engine: Any = SimpleNamespace(
            was_step_applied=lambda: True,
            get_global_grad_norm=lambda: 1.0,
            module=SimpleNamespace(model=SimpleNamespace(config=None)),
        )
        plan = plan_batches(ROWS, sft, 1, seed=0)
        ended = worker._optimize(engine, plan, {}, history, job, Path("m"))
        return ended, history.done, saved

    return do


def test_a_group_that_nothing_happens_to_takes_all_steps(steps: Any):
    assert steps() == (None, STEPS, [4])
    assert steps(done=STEPS) == (None, STEPS, [])


def test_at_a_notice_the_group_leaves_after_a_checkpoint(steps: Any):
    assert steps(notice=3) == (Left(), 3, [3])


def test_a_group_that_is_not_elastic_writes_a_checkpoint_at_a_notice_and_goes_on(steps: Any):
    assert steps(notice=3, min_workers=None) == (None, STEPS, [3, 4])


def test_where_there_is_room_for_more_workers_the_group_leaves_after_a_checkpoint(steps: Any):
    assert steps(room=2) == (Left(), 2, [2])
    assert steps(room=4) == (Left(), 4, [4]), "one checkpoint, not two"
    assert steps(room=1, every=0) == (Left(), 1, [1])
    assert steps(room=1, done=3) == (Left(), 4, [4]), "each group takes a step at least"


def test_nobody_leaves_after_the_last_step(steps: Any):
    assert steps(notice=STEPS, room=STEPS) == (None, STEPS, [4])
