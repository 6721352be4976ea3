"""Head-to-head: two replies are compared in both orders, and the judge must stay with its choice (section 3.1)."""

from typing import Literal

from selfreward_ray.judging.rubric import Rubric

Outcome = Literal["win", "loss", "tie"]


def questions(rubric: Rubric, prompt: str, ours: str, theirs: str) -> tuple[str, str]:
    """The judge's two questions: `ours` shown first, then `ours` shown second."""
    return rubric.render(prompt, ours, theirs), rubric.render(prompt, theirs, ours)


def outcome(ours_first: float | None, ours_second: float | None) -> Outcome | None:
    """How `ours` fares by the scores of the two verdicts, each 1 where the reply shown first is better, 0 or 0.5.

    A tie unless both verdicts name the same reply; None where one of them could not be read.
    """
    if ours_first is None or ours_second is None:
        return None
    if ours_first > 0.5 > ours_second:
        return "win"
    if ours_first < 0.5 < ours_second:
        return "loss"
    return "tie"
