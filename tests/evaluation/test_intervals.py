"""Intervals over prompts and seeds, against numbers computed by hand."""

import pytest

from selfreward_ray.evaluation.intervals import Estimate, gains, pooled


def run(*values: float) -> dict[str, float]:
    return {f"p{i}": value for i, value in enumerate(values)}


def test_one_run_has_the_interval_of_its_prompts() -> None:
    """2, 4 and 6: variance 4, of the mean 4/3; 1.96 · sqrt(4/3) = 2.2632."""
    found = pooled([run(2, 4, 6)])
    assert (found.mean, found.runs) == (4, ())
    assert found.margin == pytest.approx(2.2632, abs=1e-4)
    assert (found.low, found.high) == (pytest.approx(1.7368, abs=1e-4), pytest.approx(6.2632, abs=1e-4))


def test_runs_that_differ_more_than_their_prompts_decide() -> None:
    """Means 2, 5 and 8, their variance 9, of their mean 9/3; Student's t of two degrees of freedom: 4.3027 · sqrt(3) =
    7.4524. Within, each run has variance 2, of its mean 2/2, of the runs' mean (1 + 1 + 1)/9 = 1/3."""
    found = pooled([run(1, 3), run(4, 6), run(7, 9)])
    assert found.mean == 5
    assert found.margin == pytest.approx(7.4524, abs=1e-4)
    assert [each.mean for each in found.runs] == [2, 5, 8]
    assert [each.margin for each in found.runs] == pytest.approx([1.96, 1.96, 1.96])


def test_runs_that_agree_by_luck_do_not_hide_what_prompts_make() -> None:
    """Means 5 and 5. Within: variances 8 and 32, of the means 4 and 16; (4 + 16)/4 = 5; 1.96 · sqrt(5) = 4.3827."""
    assert pooled([run(3, 7), run(1, 9)]).margin == pytest.approx(4.3827, abs=1e-4)


def test_each_run_counts_the_same() -> None:
    assert pooled([run(0, 0, 0, 0), run(10)]).mean == 5


def test_one_value_has_no_interval() -> None:
    found = pooled([run(3)])
    assert found == Estimate(3, None)
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize(("runs", "message"), [([], "0 of 0"), ([run(1, 2), {}], "1 of 2")])
def test_a_run_without_values_is_refused(runs: list[dict[str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} runs have no value"):
        pooled(runs)


def test_gains_are_by_id_and_on_the_same_prompts() -> None:
    assert gains({"a": 40, "b": 60}, {"b": 80, "a": 20}) == {"a": -20, "b": 20}
    with pytest.raises(ValueError, match=r"not measured on the same rows: \['b', 'c'\] are in one only"):
        gains({"a": 40, "b": 60}, {"a": 20, "c": 80})
