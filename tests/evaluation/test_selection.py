"""Which snapshot of a training is chosen, by the outcomes of neighbours."""

from itertools import product
from unittest import mock

import pytest

from selfreward_ray.evaluation.selection import select

RATES = (0.75, 0.5, 0.25, None)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_snapshot_before_the_first_that_does_not_win_is_chosen(count: int):
    """All combinations of win, tie, loss and nothing to compare: the chosen one has only wins before it."""
    snapshots = [10 * (i + 1) for i in range(count)]
    for rates in product(RATES, repeat=count - 1):
        compare = mock.Mock(side_effect=[{"left_win_rate": rate} for rate in rates])
        found = select(snapshots, compare)
        wins = 0
        while wins < len(rates) and (rates[wins] or 0) > 0.5:
            wins += 1
        assert found.step == snapshots[wins]
        assert found.decided == (wins < len(rates))
        assert found.of == snapshots[: wins + 2]
        asked = [call.args for call in compare.call_args_list]
        assert asked == list(zip(found.of[1:], found.of, strict=False)), "later snapshots are not compared"


def test_the_smallest_win_is_one_and_a_tie_is_none():
    assert select([1, 2], lambda *_: {"left_win_rate": 0.501}).step == 2
    assert select([1, 2], lambda *_: {"left_win_rate": 0.5}).step == 1


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ([], "it is the only snapshot"),
        (
            [0.61, 0.4812],
            "step 600 did not win against it (win rates: step 400 against step 200: 61.0 %; step 600 against step 400: "
            "48.1 %)",
        ),
        (
            [0.61],
            "it is the last snapshot, and each one won against the one before it (win rates: step 400 against step "
            "200: 61.0 %)",
        ),
        (
            [None],
            "step 400 did not win against it (win rates: step 400 against step 200: nothing could be compared)",
        ),
    ],
)
def test_the_reason_names_steps_and_win_rates(rates: list[float | None], why: str):
    snapshots = [200 * (i + 1) for i in range(len(rates) + 1)]
    assert select(snapshots, lambda step, _: {"left_win_rate": rates[step // 200 - 2]}).why == why
