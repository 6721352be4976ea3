"""Figures of the course of a training."""

from typing import Any

import pytest

from selfreward_ray.evaluation.course import training_course

NOTHING = {"loss_rise": None, "chosen_logprob_fall": None, "final_margin": None, "early_accuracy": None}


def log(**metrics: list[float]) -> list[dict[str, Any]]:
    """Rows of a training's log, from the values of each metric."""
    return [dict(zip(metrics, values, strict=True)) for values in zip(*metrics.values(), strict=True)]


@pytest.mark.parametrize("rows", [[], [{}], [{"learning_rate": 1.0}] * 9, log(loss=[2.0])])
def test_a_log_without_values_or_with_one_step_gives_nothing(rows: list[dict[str, Any]]):
    assert training_course(rows) == NOTHING


def test_a_rise_is_from_the_first_step_before_which_no_weight_has_changed():
    """Of 20 steps the last two have the mean 11. The first update may already destroy a model."""
    assert training_course(log(loss=[3.0, *[11.0] * 17, 10.0, 12.0]))["loss_rise"] == pytest.approx(8.0)
    assert training_course(log(loss=[3.0, 2.0]))["loss_rise"] == -1.0


def test_dpo_is_measured_by_its_chosen_replies():
    """Of ten steps the first and the last; the loss of preferences says nothing of the kind."""
    course = training_course(log(loss=[0.7] + [0.1] * 9, chosen_nll=[1.0] * 9 + [1.75]))
    assert (course["loss_rise"], course["chosen_logprob_fall"]) == (0.75, 0.75)
    assert training_course(log(loss=[1.0] * 10))["chosen_logprob_fall"] is None


def test_the_margin_is_that_of_the_last_tenth():
    assert training_course(log(reward_margin=[0.0] * 18 + [1.0, 3.0]))["final_margin"] == 2.0


def test_accuracy_at_the_beginning_leaves_out_the_untouched_model():
    """Three steps at least, or the first tenth: of 50 steps five."""
    assert training_course(log(accuracy=[0.0, 1.0, 1.0, 0.7]))["early_accuracy"] == pytest.approx(0.9)
    assert training_course(log(accuracy=[0.0, 1.0, 1.0]))["early_accuracy"] is None
    assert training_course(log(accuracy=[0.0] + [1.0] * 5 + [0.5] * 44))["early_accuracy"] == 1.0


def test_a_skipped_step_has_no_loss():
    rows = log(loss=[2.0, 3.0, 9.0])
    del rows[2]["loss"]
    assert training_course([*rows, {"loss": 4.0}])["loss_rise"] == 2.0
    assert training_course([{}, *rows])["loss_rise"] is None
