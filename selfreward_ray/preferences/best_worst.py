from selfreward_ray.preferences.contest import Contest
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Dropped, Pair


def best_worst(contest: Contest, pairs: Pairs) -> list[Pair] | Dropped:
    """The paper's one pair: the best mean against the worst (section 2.3)."""
    del pairs
    preferences = contest.preferences()
    return preferences if isinstance(preferences, Dropped) else [contest.pair(preferences[0])]
