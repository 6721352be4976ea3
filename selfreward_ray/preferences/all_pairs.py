from selfreward_ray.preferences.contest import Contest, Rival, reaches
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Dropped, Pair

CLOSE = "no two means differ by pairs.margin"


def all_pairs(contest: Contest, pairs: Pairs) -> list[Pair] | Dropped:
    """Every two candidates whose means differ by at least ``pairs.margin``: InstructGPT learns from all K over 2
    comparisons of a prompt (arXiv 2203.02155, section 3.5).

    ``M2/p000017/pair-r2-r0`` prefers candidate ``r2`` to ``r0``. The greatest contrast comes first.
    """
    preferences = contest.preferences()
    if isinstance(preferences, Dropped):
        return preferences

    def name(rival: Rival) -> str:
        return rival.candidate.id.removeprefix(f"{contest.prompt.id}/")

    clear = [p for p in preferences if reaches(p.difference, pairs.margin)]
    made = [contest.pair(p, f"pair-{name(p.chosen)}-{name(p.rejected)}") for p in clear]
    return made or contest.drop(CLOSE)
