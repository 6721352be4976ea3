"""Wins, losses and ties of a head-to-head comparison."""

import pytest

from selfreward_ray.evaluation.outcomes import Outcomes, outcomes, outcomes_by_score
from selfreward_ray.records import Comparison, Contender, ReplyPair

PAIR = ReplyPair("p", "Why?", Contender("a", "So."), Contender("b", "No."))


@pytest.mark.parametrize(
    ("preferred", "figures"),
    [
        (["left", "left", "right", "neither"], Outcomes(2, 1, 1, 0.625, 0, 0)),  # 2½ of 4
        (["first", "first", "second", "left", "neither"], Outcomes(1, 0, 4, 0.6, 2, 1)),  # 1 and 4 halves of 5
        (["right"], Outcomes(0, 1, 0, 0.0, 0, 0)),
        ([], Outcomes(0, 0, 0, None, 0, 0)),
    ],
)
def test_a_tie_is_half_a_win_and_the_orders_share_is_told(preferred: list[str], figures: Outcomes):
    assert outcomes(Comparison("p", PAIR, (), (), name) for name in preferred) == figures


def test_the_greater_score_wins_and_prompts_must_be_the_same():
    """60 over 40 and twice equal: 1 win and 2 ties of 4, 1 loss: (1 + 1) / 4."""
    left, right = {"a": 60, "b": 40, "c": 80, "d": 0}, {"d": 20, "a": 40, "b": 40, "c": 80}
    assert outcomes_by_score(left, right) == Outcomes(1, 1, 2, 0.5, 0, 0)
    assert outcomes_by_score({"a": 60}, {"a": 40}) == Outcomes(1, 0, 0, 1.0, 0, 0)
    with pytest.raises(ValueError, match=r"not measured on the same rows: \['b'\]"):
        outcomes_by_score({"a": 60}, {"a": 40, "b": 40})
