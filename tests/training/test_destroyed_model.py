"""A learning rate that destroys the model, in the real SFT step on one rank, is seen as soon as the training ends."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import destroyed
import pytest
from ranks import run_ranks
from small_loop import SmallLoop

from selfreward_ray import loop
from selfreward_ray.alarms.check import alarms_of
from selfreward_ray.alarms.reactions import StoppedByAlarm
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.train import sft
from selfreward_ray.training.job import TrainJob

pytestmark = pytest.mark.engines


def one_rank(job: TrainJob, progress: Any) -> None:
    """The trainer: a process of its own, without Ray."""
    folder = Path(job.folders.training.uri).parent / "rank"
    folder.mkdir()
    (folder / "job.pkl").write_bytes(pickle.dumps(job))
    run_ranks(destroyed.train, folder, 1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    run = SmallLoop(tmp_path, monkeypatch)
    monkeypatch.setitem(loop.STEPS, "sft", partial(sft, trainer=one_rank))
    return run


def recipe(run: SmallLoop, model: Path, rate: float) -> Recipe:
    rates = {"learning_rate": rate, "final_learning_rate": rate, "batch_size": 2, "epochs": 4}
    made = run.recipe(sft=rates, training={"dtype": "float32"})
    return made.model_copy(update={"model": str(model), "iterations": 0})


def test_a_learning_rate_that_destroys_the_model_stops_the_run_before_its_evaluation(run: SmallLoop, tiny_model: Path):
    with pytest.raises(StoppedByAlarm, match=r"stopped after M1 · SFT by an alarm\. loss_rise: the loss rose by"):
        run.run(recipe(run, tiny_model, 1.0))
    assert run.asked == []
    print(f"\n| learning rate 1.0 | loss_rise | M1 · SFT | {run.cost()} |")


def test_a_sound_learning_rate_fires_no_alarm_of_the_training(run: SmallLoop, tiny_model: Path):
    made = recipe(run, tiny_model, 1e-3)
    run.run(made)
    assert alarms_of(plan(made, run.layout), made, run.layout) == ()
