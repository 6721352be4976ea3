from selfreward_ray.preferences.candidate_set import CandidateSet, Preference, reaches
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped, Pair


def length_controlled(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """Make one pair: the shortest of the best replies against the longest of the worst.

    This keeps answers from growing longer with each iteration (length control of Meta-Rewarding, arXiv 2407.19594).
    Let the range be the distance between the two means of the `best_worst` pair. The best replies are those within
    ``pairs.band`` times the range of its higher mean, the worst those within the same distance of its lower mean.
    Length is the number of tokens, or of characters if the replies were imported and have no token ids. Of several
    such pairs the shortest chosen reply decides, then the longest rejected one, then the order of `preferences`.
    """
    preferences = candidates.preferences()
    if isinstance(preferences, Dropped):
        return preferences
    best, worst = preferences[0].chosen.mean, preferences[0].rejected.mean
    width = pairs.band * (best - worst)
    near = [p for p in preferences if reaches(p.chosen.mean, best - width) and reaches(worst + width, p.rejected.mean)]
    # `min` returns the first of equal pairs, which keeps the order of `preferences`.
    return [candidates.pair(min(near, key=_lengths))]


def _lengths(preference: Preference) -> tuple[int, int]:
    return _length(preference.chosen.reply), -_length(preference.rejected.reply)


def _length(candidate: Candidate) -> int:
    return len(candidate.token_ids) - candidate.thought_tokens or len(candidate.text)
