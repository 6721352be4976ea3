from selfreward_ray.preferences.candidate_set import CandidateSet, ScoredCandidate, reaches
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Dropped, Pair

CLOSE = "no two means differ by pairs.margin"


def all_pairs(candidates: CandidateSet, pairs: Pairs) -> list[Pair] | Dropped:
    """Make a pair of every two candidates whose mean scores differ by at least ``pairs.margin``.

    InstructGPT trains on all K(K-1)/2 comparisons of a prompt in the same way (arXiv 2203.02155, section 3.5).
    The id ``M2/p000017/pair-r2-r0`` means that candidate ``r2`` is preferred to ``r0``. The pair of the best and the
    worst candidate comes first.
    """
    preferences = candidates.preferences()
    if isinstance(preferences, Dropped):
        return preferences

    def name(candidate: ScoredCandidate) -> str:
        return candidate.reply.id.removeprefix(f"{candidates.prompt.id}/")

    clear = [p for p in preferences if reaches(p.difference, pairs.margin)]
    made = [candidates.pair(p, f"pair-{name(p.chosen)}-{name(p.rejected)}") for p in clear]
    return made or candidates.drop(CLOSE)
