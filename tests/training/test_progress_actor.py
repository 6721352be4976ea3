from selfreward_ray.training.progress_actor import ProgressActor


def shown(actor: ProgressActor) -> tuple[int, int]:
    state = actor.read()
    return state["done"], state["tokens"]


def test_a_run_that_goes_on_shows_its_step_and_the_tokens_of_this_driver():
    actor = ProgressActor()
    actor.begin(40, 4000)
    assert shown(actor) == (40, 0)
    actor.update(43, 4300)
    assert shown(actor) == (43, 300)
    actor.begin(42, 4200)  # a worker died, and Ray Train started the group again
    assert shown(actor) == (42, 200)
    actor.update(43, 4300)
    assert shown(actor) == (43, 300)
