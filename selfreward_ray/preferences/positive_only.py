from selfreward_ray.preferences.candidate_set import CandidateSet, reaches
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped, Positive

TOO_FEW_VERDICTS = "no candidate with enough valid verdicts"
LOW = "no candidate reaches pairs.positive_mean"
UNFINISHED = "no finished candidate reaches pairs.positive_mean"
FLAGGED = "every finished candidate that reaches pairs.positive_mean was flagged"


def positive_only(candidates: CandidateSet, pairs: Pairs) -> list[Positive] | Dropped:
    """Take every reply with a mean of at least ``pairs.positive_mean`` as an SFT example (paper, sections 2.3, 3.2).

    A row has its candidate's id, and the token ids that the engine read and generated. Of equal texts the one with the
    highest mean is kept, then the one with the smallest id. If no reply qualifies, the result is a `Dropped` row with
    one of this module's four reasons.
    """
    if not candidates.scored:
        return candidates.drop(TOO_FEW_VERDICTS)
    high = [candidate for candidate in candidates.scored if reaches(candidate.mean, pairs.positive_mean)]
    if not high:
        return candidates.drop(LOW)
    finished = [candidate for candidate in high if candidate.reply.finished]
    if not finished:
        return candidates.drop(UNFINISHED)
    eligible = [candidate.reply for candidate in finished if candidate.flag is None]
    if not eligible:
        return candidates.drop(FLAGGED)
    by_text: dict[str, Candidate] = {}
    for candidate in eligible:
        by_text.setdefault(candidate.text.strip(), candidate)
    prompt = candidates.prompt
    return [Positive(c.id, prompt.text, prompt.token_ids, c, prompt.history) for c in by_text.values()]
