from math import sqrt

import pytest

from selfreward_ray.evaluation.differences import accuracy_difference, mean_difference


def test_a_mean_difference_by_hand():
    """Differences 1, 2 and 3: mean 2, variance 1, half the interval 1.96·√(1/3)."""
    found = mean_difference({"a": 1.0, "b": 2.0, "c": 3.0, "x": 9.0}, {"a": 2.0, "b": 4.0, "c": 6.0, "y": 0.0})
    assert found is not None
    assert found.mean == 2
    assert found.margin == pytest.approx(1.96 * sqrt(1 / 3))


def test_without_a_common_prompt_there_is_no_difference():
    assert mean_difference({"a": 1.0}, {"b": 1.0}) is None
    assert accuracy_difference({"a": (1, 1)}, {"b": (1, 1)}) is None


def test_an_accuracy_difference_by_hand():
    """Before 1/4 and after 3/4 over two sets of two pairs. The residuals before are (1 - 0.5)/4 and (0 - 0.5)/4, after
    (2 - 1.5)/4 and (1 - 1.5)/4: the same, so the paired difference has no spread."""
    found = accuracy_difference({"a": (1, 2), "b": (0, 2)}, {"a": (2, 2), "b": (1, 2)})
    assert found is not None
    assert (found.mean, found.margin) == (0.5, 0.0)
    found = accuracy_difference({"a": (1, 2), "b": (0, 2)}, {"a": (1, 2), "b": (2, 2)})
    assert found is not None
    assert found.mean == 0.5
    assert found.margin == pytest.approx(1.96 * sqrt(2 * 2 * 0.25**2))


def test_one_set_has_no_interval():
    found = accuracy_difference({"a": (0, 1)}, {"a": (1, 1)})
    assert found is not None
    assert (found.mean, found.margin) == (1.0, None)
