"""The mean and variance of k verdicts."""

import pytest

from selfreward_ray.judging.aggregate import valid_scores, with_verdicts
from selfreward_ray.records import Candidate, Verdict


def judged(*scores: float | None) -> Candidate:
    candidate = Candidate(id="r0", text="yes", token_ids=(1,), finished=True)
    return with_verdicts(candidate, tuple(Verdict(f"r0/v{k}", "", score, 1) for k, score in enumerate(scores)))


def test_mean_and_population_variance() -> None:
    """2, 4, 4 and 6: mean 4; squared distances 4 + 0 + 0 + 4 over four scores: 2."""
    assert (judged(2, 4, 4, 6).mean, judged(2, 4, 4, 6).variance) == (4.0, 2.0)


def test_unreadable_verdicts_are_kept_but_not_averaged() -> None:
    candidate = judged(None, 3, 5)
    assert valid_scores(candidate) == [3, 5]
    assert len(candidate.verdicts) == 3
    assert candidate.mean == 4.0


@pytest.mark.parametrize("scores", [(), (None,), (None, None)])
def test_no_score_is_no_number(scores: tuple[None, ...]) -> None:
    assert (judged(*scores).mean, judged(*scores).variance) == (None, None)


def test_one_score_has_no_spread() -> None:
    assert (judged(None, 0).mean, judged(None, 0).variance) == (0.0, 0.0)


def test_order_of_scores_does_not_split_equal_means() -> None:
    assert judged(0.1, 0.2, 0.3).mean == judged(0.3, 0.2, 0.1).mean
