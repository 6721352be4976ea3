from math import sqrt
from statistics import NormalDist

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences.candidate_set import CandidateSet, Preference
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Dropped, Pair

TOO_FEW_VERDICTS = "a reply of the pair has one valid verdict, which has no spread"
WEAK = "the confidence of the pair is below pairs.min_confidence"


def preference_strength(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """Make the pair of `best_worst` if its verdicts support it with enough `confidence`.

    Follows Secrets of RLHF II (arXiv 2401.06080, section 2), where several reward models vote; here the votes are the
    judge's verdicts. A pair below ``pairs.min_confidence`` is dropped. If ``pairs.weak`` is ``soften`` it is kept, and
    its label smoothing is the probability that its label is wrong.
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
    """The probability, above 0.5, that one more verdict on each reply would rank them in this order.

    Scores are taken as normally distributed: Φ(d / s), where d is the difference of the means and s² the sum of the two
    variances. It is 1 if all verdicts on each reply agree.
    """
    variances = (preference.chosen.reply.variance, preference.rejected.reply.variance)
    spread = sqrt(sum(variance or 0.0 for variance in variances))
    return NormalDist().cdf(preference.difference / spread) if spread else 1.0
