from math import sqrt
from statistics import NormalDist

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences.candidate_set import CandidateSet, Preference
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Dropped, Pair

TOO_FEW_VERDICTS = "one valid verdict on a reply of the pair, which has no spread"
WEAK = "the verdicts support the pair less surely than pairs.min_confidence"


def preference_strength(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """The pair of `best_worst`, and what its verdicts say of its own label (Secrets of RLHF II, arXiv 2401.06080,
    section 2, where several reward models vote; here the judge's several verdicts do).

    A pair below ``pairs.min_confidence`` is dropped, or, where ``pairs.weak`` is ``soften``, its label is smoothed by
    the chance that it is wrong.
    """
    preferences = candidates.preferences()
    if isinstance(preferences, Dropped):
        return preferences
    chosen, rejected = preferences[0].chosen.reply, preferences[0].rejected.reply
    if min(len(valid_scores(chosen)), len(valid_scores(rejected))) < 2:
        return candidates.drop(TOO_FEW_VERDICTS)
    sure = confidence(preferences[0])
    if sure >= pairs.min_confidence:
        return [candidates.pair(preferences[0])]
    if pairs.weak == "drop":
        return candidates.drop(WEAK)
    return [candidates.pair(preferences[0], label_smoothing=1 - sure)]


def confidence(preference: Preference) -> float:
    """The chance, above 0.5, that one verdict on each reply, both normal, puts them in this order: Φ(d / s) for means
    that differ by d and scores of variance s² together. 1 where the verdicts on each reply all agree."""
    variances = (preference.chosen.reply.variance, preference.rejected.reply.variance)
    spread = sqrt(sum(variance or 0.0 for variance in variances))
    return NormalDist().cdf(preference.difference / spread) if spread else 1.0
