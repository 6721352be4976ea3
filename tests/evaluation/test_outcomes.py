"""Figures of a head-to-head comparison."""

import pytest

from selfreward_ray.evaluation.outcomes import Outcomes, outcomes
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
