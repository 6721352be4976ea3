"""The paper's pair policy: the best mean score against the worst (section 2.3)."""

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.recipe import Judge
from selfreward_ray.records import Dropped, JudgedPrompt, Pair

TOO_FEW_VERDICTS = "fewer than two candidates with enough valid verdicts"
SAME_MEAN = "all candidates have the same mean score"
UNFINISHED = "no finished candidate above the lowest mean"
WORDLESS = "no finished candidate above the lowest mean says anything"
SAME_TEXT = "no lower candidate differs in text"


def best_worst(judged: JudgedPrompt, judge: Judge) -> list[Pair] | Dropped:
    """One pair, or the reason (one of this module's five) why there is none.

    A candidate counts from ``judge.min_valid`` valid verdicts on. Only a finished reply that says something
    may be chosen. Among the pairs that remain, the highest chosen mean decides, then the lowest rejected mean,
    then the ids: never the order of the candidates.
    """

    def drop(reason: str) -> Dropped:
        return Dropped(judged.id, "pair", reason)

    scored = [(c.mean, c) for c in judged.candidates if c.mean is not None and len(valid_scores(c)) >= judge.min_valid]
    if len(scored) < 2:
        return drop(TOO_FEW_VERDICTS)
    lowest = min(mean for mean, _ in scored)
    above = [(mean, c) for mean, c in scored if mean > lowest]
    if not above:
        return drop(SAME_MEAN)
    finished = [(mean, c) for mean, c in above if c.finished]
    if not finished:
        return drop(UNFINISHED)
    worded = [(mean, c) for mean, c in finished if _says_something(c.text)]
    if not worded:
        return drop(WORDLESS)
    pairs = [
        (-high, low, chosen.id, rejected.id, chosen, rejected)
        for high, chosen in worded
        for low, rejected in scored
        if high > low and chosen.text.strip() != rejected.text.strip()
    ]
    if not pairs:
        return drop(SAME_TEXT)
    *_, chosen, rejected = min(pairs, key=lambda pair: pair[:4])
    return [Pair(f"{judged.id}/pair", judged.text, judged.token_ids, chosen, rejected)]


def _says_something(text: str) -> bool:
    # Judges give points to an empty reply, to a lone ":" and to an opening with nothing after it ("Thought process:").
    text = text.strip()
    bare_opening = text.endswith(":") and "\n" not in text
    return any(character.isalnum() for character in text) and not bare_opening
