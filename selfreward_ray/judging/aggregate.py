"""k verdicts of a candidate to one mean score (paper, section 2.2)."""

from dataclasses import replace
from statistics import fmean, pvariance

from selfreward_ray.records import Candidate, Verdict


def valid_scores(candidate: Candidate) -> list[float]:
    """The scores that could be read, in the verdicts' order."""
    return [verdict.score for verdict in candidate.verdicts if verdict.score is not None]


def with_verdicts(candidate: Candidate, verdicts: tuple[Verdict, ...]) -> Candidate:
    """`candidate` with all of `verdicts`, and the mean and population variance of the valid scores, if any."""
    judged = replace(candidate, verdicts=verdicts)
    scores = valid_scores(judged)
    if not scores:
        return replace(judged, mean=None, variance=None)
    return replace(judged, mean=fmean(scores), variance=pvariance(scores))
