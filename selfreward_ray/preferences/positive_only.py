from selfreward_ray.preferences.contest import Contest, reaches
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Candidate, Dropped, Positive

TOO_FEW_VERDICTS = "no candidate with enough valid verdicts"
LOW = "no candidate reaches pairs.positive_mean"
UNFINISHED = "no finished candidate reaches pairs.positive_mean"
CAUGHT = "every finished candidate that reaches pairs.positive_mean was caught"


def positive_only(contest: Contest, pairs: Pairs) -> list[Positive] | Dropped:
    """Every reply with a mean of at least ``pairs.positive_mean``, to be imitated (paper, sections 2.3 and 3.2).

    A row has its candidate's id, and the very ids that the engine read and wrote. Of equal texts the best mean stays,
    then the first id. Where there is none, the reason is one of this module's four.
    """
    if not contest.rivals:
        return contest.drop(TOO_FEW_VERDICTS)
    high = [rival for rival in contest.rivals if reaches(rival.mean, pairs.positive_mean)]
    if not high:
        return contest.drop(LOW)
    finished = [rival for rival in high if rival.candidate.finished]
    if not finished:
        return contest.drop(UNFINISHED)
    sound = [rival.candidate for rival in finished if rival.fault is None]
    if not sound:
        return contest.drop(CAUGHT)
    by_text: dict[str, Candidate] = {}
    for candidate in sound:
        by_text.setdefault(candidate.text.strip(), candidate)
    return [Positive(c.id, contest.prompt.text, contest.prompt.token_ids, c) for c in by_text.values()]
