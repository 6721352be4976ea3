import numpy as np
import pytest

from selfreward_ray.evaluation import bootstrap
from selfreward_ray.evaluation.bootstrap import ratio_intervals


def wins(right: int, wrong: int) -> np.ndarray:
    """Units with one pair each, right or wrong, as sums of shape (units, 1, 2)."""
    return np.array([[[1.0, 1.0]]] * right + [[[0.0, 1.0]]] * wrong)


def test_the_interval_of_a_fraction_is_nearly_that_of_the_binomial():
    """70 of 100: 0.7 ± 1.96 · sqrt(0.7 · 0.3 / 100) = 0.610 to 0.790."""
    ((low, high),) = ratio_intervals(wins(70, 30))
    assert (low, high) == pytest.approx((0.61, 0.79), abs=0.015)


def test_the_unit_is_resampled_as_a_whole():
    """The same 100 pairs in ten units that are all right or all wrong: sqrt(10) times as wide."""
    clustered = np.array([[[10.0, 10.0]]] * 7 + [[[0.0, 10.0]]] * 3)
    ((low, high),) = ratio_intervals(clustered)
    assert (low, high) == pytest.approx((0.4, 1.0), abs=0.02)


def test_units_of_different_weight_are_a_ratio_of_sums_and_not_a_mean_of_ratios():
    units = np.array([[[9.0, 10.0]], [[0.0, 1.0]]] * 50)
    ((low, high),) = ratio_intervals(units)
    assert low < 0.818 < high  # 9 / 11
    assert high - low < 0.1


def test_without_two_units_there_is_no_interval():
    assert ratio_intervals(np.empty((0, 2, 2))) == [None, None]
    assert ratio_intervals(wins(1, 0)) == [None]
    two_of_three = np.array([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]])
    first, second = ratio_intervals(two_of_three)
    assert first is not None
    assert second is None  # one unit counts for it


def test_units_that_count_for_nothing_are_left_out_of_a_resample():
    """Two of fifty units count: half of the resamples or so have none, and no ratio."""
    rare = np.array([[[1.0, 1.0]], [[0.0, 1.0]], *[[[0.0, 0.0]]] * 48])
    assert ratio_intervals(rare) == [[0.0, 1.0]]


def test_it_is_the_same_every_time_and_in_parts(monkeypatch: pytest.MonkeyPatch):
    units = wins(12, 5)
    whole = ratio_intervals(units)
    assert ratio_intervals(units) == whole
    monkeypatch.setattr(bootstrap, "_CELLS", 7)
    assert ratio_intervals(units) == whole


def test_units_that_are_all_alike_have_an_interval_without_width():
    assert ratio_intervals(wins(5, 0)) == [[1.0, 1.0]]
