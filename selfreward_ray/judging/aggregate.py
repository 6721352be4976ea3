"""Average the k verdicts of a candidate to one score (paper, section 2.2)."""

from dataclasses import replace
from statistics import fmean, pvariance

from selfreward_ray.records import Candidate, Verdict


def valid_scores(candidate: Candidate) -> list[float]:
    """The scores of the valid verdicts, in their order. A verdict without a readable score is left out."""
    return [verdict.score for verdict in candidate.verdicts if verdict.score is not None]


def with_verdicts(candidate: Candidate, verdicts: tuple[Verdict, ...]) -> Candidate:
    """`candidate` with `verdicts`, and with the mean and population variance of their valid scores.

    Both are None if no verdict is valid.
    """
    judged = replace(candidate, verdicts=verdicts)
    scores = valid_scores(judged)
    if not scores:
        return replace(judged, mean=None, variance=None)
    return replace(judged, mean=fmean(scores), variance=pvariance(scores))
