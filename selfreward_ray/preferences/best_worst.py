from selfreward_ray.preferences.candidate_set import CandidateSet
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Dropped, Pair


def best_worst(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """Make one pair, as the paper does: the highest mean score against the lowest (section 2.3)."""
    del pairs
    preferences = candidates.preferences()
    return preferences if isinstance(preferences, Dropped) else [candidates.pair(preferences[0])]
