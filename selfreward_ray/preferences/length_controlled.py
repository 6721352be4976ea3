from selfreward_ray.preferences.candidate_set import CandidateSet, Preference, reaches
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Candidate, Dropped, Pair


def length_controlled(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """Of the replies that are about as good as the best the shortest, against the longest of those about as bad as
    the worst, so that answers do not grow longer each round (Meta-Rewarding, arXiv 2407.19594, its length control).

    About as good is within ``pairs.band`` of the range of means, from the worst to the best reply that make the pair
    of `best_worst`; length is the number of tokens, or of characters where no engine here wrote the replies. The
    shortest chosen reply decides, then the longest rejected one, then the order of best against worst.
    """
    preferences = candidates.preferences()
    if isinstance(preferences, Dropped):
        return preferences
    best, worst = preferences[0].chosen.mean, preferences[0].rejected.mean
    width = pairs.band * (best - worst)
    near = [p for p in preferences if reaches(p.chosen.mean, best - width) and reaches(worst + width, p.rejected.mean)]
    # `min` takes the first of equals, and the preferences come best against worst first.
    return [candidates.pair(min(near, key=_lengths))]


def _lengths(preference: Preference) -> tuple[int, int]:
    return _length(preference.chosen.reply), -_length(preference.rejected.reply)


def _length(candidate: Candidate) -> int:
    return len(candidate.token_ids) or len(candidate.text)
