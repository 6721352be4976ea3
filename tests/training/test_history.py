import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.training.history import Diverged, History

NAN = float("nan")


def history(skips: str) -> History:
    """One step a letter, ``x`` where it was skipped; step 0 has loss 0, step 1 has loss 1, …"""
    made = History()
    for step, letter in enumerate(skips):
        loss = NAN if letter == "x" else float(step)
        made.add({"loss": loss, "tokens": 10}, rate=0.1, seconds=3.0, skipped=letter == "x")
    return made


def test_a_row_says_what_a_step_was():
    assert history(".x").steps == [
        {"step": 0, "loss": 0.0, "tokens": 10, "learning_rate": 0.1, "seconds": 3.0, "skipped": False},
        {"step": 1, "tokens": 10, "learning_rate": 0.1, "seconds": 3.0, "skipped": True},
    ]


@pytest.mark.parametrize(
    ("skips", "skipped", "last"), [("...", 0, 2), (".x.", 1, 2), ("..x", 1, 1), ("x.xx", 3, 1), ("xx", 2, 1)]
)
def test_the_summary_ends_with_the_last_step_that_counted(skips: str, skipped: int, last: int):
    summary = history(skips).summary()
    assert (summary["steps"], summary["tokens"]) == (len(skips), 10 * len(skips))
    assert (summary["skipped_steps"], summary["last"]["step"]) == (skipped, last)


@pytest.mark.parametrize(("skips", "in_a_row"), [("", 0), (".", 0), ("x", 1), ("xx.", 0), ("x.xx", 2), ("xxx", 3)])
def test_only_skips_in_a_row_end_a_run(skips: str, in_a_row: int):
    made = history(skips)
    assert made.skipped_in_a_row == in_a_row
    made.check(in_a_row, ["p0"], "DPO")
    if in_a_row:
        with pytest.raises(Diverged, match=rf"DPO: .*{in_a_row} steps in a row.*step {len(skips) - 1} .*p0, p1"):
            made.check(in_a_row - 1, ["p0", "p1"], "DPO")


def test_the_command_line_shows_it_as_an_error_of_the_user():
    assert issubclass(Diverged, UserError)
