from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from selfreward_ray.training.progress_actor import ProgressActor, answer


def shown(actor: ProgressActor) -> tuple[int, int]:
    state = actor.read()
    return state["done"], state["tokens"]


def test_a_run_that_goes_on_shows_its_step_and_the_tokens_of_this_driver():
    actor = ProgressActor()
    actor.begin(40, 4000)
    assert shown(actor) == (40, 0)
    actor.step(43, 4300, {})
    assert shown(actor) == (43, 300)
    actor.begin(42, 4200)  # a worker died, and Ray Train started the group again
    assert shown(actor) == (42, 200)
    actor.step(43, 4300, {})
    assert shown(actor) == (43, 300)


def test_the_metrics_of_each_step_are_read_once():
    actor = ProgressActor()
    actor.begin(0, 0)
    actor.step(1, 10, {"step": 0})
    actor.step(2, 20, {"step": 1})
    assert actor.read()["steps"] == [{"step": 0}, {"step": 1}]
    actor.step(3, 30, {"step": 2})
    assert actor.read()["steps"] == [{"step": 2}]
    assert actor.read()["steps"] == []


def test_a_group_that_starts_has_not_begun_and_does_not_know_of_room():
    actor = ProgressActor()
    actor.start()
    assert (actor.read()["note"], actor.read()["begun"], actor.has_room()) == ("starting workers", False, False)
    actor.begin(0, 0)
    actor.make_room()
    assert (actor.read()["begun"], actor.has_room()) == (True, True)
    actor.start()  # the group has ended, and one with more workers is started
    assert (actor.read()["begun"], actor.has_room()) == (False, False)


def test_an_actor_that_is_started_again_goes_on_with_what_it_is_told():
    actor = ProgressActor()
    actor.step(43, 4300, {"step": 42})
    assert shown(actor) == (43, 0)
    assert actor.read()["begun"], "workers that are missing are looked for again"
    actor.step(44, 4400, {"step": 43})
    assert shown(actor) == (44, 100)


@pytest.mark.parametrize("said", [True, False, ActorDiedError()])
def test_a_lost_actor_answers_no(said: Any, monkeypatch: pytest.MonkeyPatch):
    def get(reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(ray, "get", get)
    assert answer(SimpleNamespace(remote=lambda: said)) == (said is True)
