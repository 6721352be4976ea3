"""A judged prompt as every policy sees it: who may be chosen, who may be rejected, and why nobody can be.

A candidate takes part from ``judge.min_valid`` valid verdicts on, and may then be rejected. It may be chosen where
it is finished and eligible too. No rule asks in which order the candidates were sampled.
"""

from dataclasses import dataclass

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences.flags import flag_reason
from selfreward_ray.recipe.schema import Judge
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair

TOO_FEW_VERDICTS = "fewer than two candidates with enough valid verdicts"
SAME_MEAN = "all candidates have the same mean score"
UNFINISHED = "no finished candidate above the lowest mean"
FLAGGED = "every finished candidate above the lowest mean was flagged"
SAME_TEXT = "no lower candidate differs in text"


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate that takes part. `fault` is one of `eligible`'s reasons."""

    reply: Candidate
    mean: float
    flag: str | None


@dataclass(frozen=True)
class Preference:
    """`chosen` may be chosen, has the greater mean, and another text than `rejected`."""

    chosen: ScoredCandidate
    rejected: ScoredCandidate

    @property
    def difference(self) -> float:
        """Of the means, above 0."""
        return self.chosen.mean - self.rejected.mean


@dataclass(frozen=True)
class CandidateSet:
    """A judged prompt and those of its candidates that take part: best mean first, equal means by id."""

    prompt: JudgedPrompt
    scored: tuple[ScoredCandidate, ...]
    flagged: tuple[Dropped, ...]
    """Every candidate with a fault, whether it takes part or not."""

    def preferences(self) -> list[Preference] | Dropped:
        """Every preference, or the reason (one of this module's five) why there is none.

        The best against the worst comes first: the highest chosen mean, then the lowest rejected mean, then the ids.
        """
        if len(self.scored) < 2:
            return self.drop(TOO_FEW_VERDICTS)
        above = [candidate for candidate in self.scored if candidate.mean > self.scored[-1].mean]
        if not above:
            return self.drop(SAME_MEAN)
        finished = [candidate for candidate in above if candidate.reply.finished]
        if not finished:
            return self.drop(UNFINISHED)
        eligible = [candidate for candidate in finished if candidate.flag is None]
        if not eligible:
            return self.drop(FLAGGED)
        found = [
            Preference(chosen, rejected)
            for chosen in eligible
            for rejected in self.scored
            if chosen.mean > rejected.mean and not same_text(chosen, rejected)
        ]
        return sorted(found, key=_contrast) or self.drop(SAME_TEXT)

    def pair(self, preference: Preference, name: str = "pair", label_smoothing: float = 0.0) -> Pair:
        """The preference as a row with the id ``{prompt}/{name}``."""
        chosen, rejected = preference.chosen.reply, preference.rejected.reply
        prompt = self.prompt
        return Pair(f"{prompt.id}/{name}", prompt.text, prompt.token_ids, chosen, rejected, label_smoothing)

    def drop(self, reason: str) -> Dropped:
        return Dropped(self.prompt.id, "pair", reason)


def build_candidate_set(judged: JudgedPrompt, judge: Judge, constant: frozenset[bytes]) -> CandidateSet:
    """The candidates of `judged`; `constant` are the keys of texts that answer too many prompts."""
    flags = {c.id: flag_reason(c.text, judged.text, constant) for c in judged.candidates}
    scored = [
        ScoredCandidate(c, c.mean, flags[c.id])
        for c in judged.candidates
        if c.mean is not None and len(valid_scores(c)) >= judge.min_valid
    ]
    scored.sort(key=lambda candidate: (-candidate.mean, candidate.reply.id))
    flagged = [Dropped(name, "pair", reason) for name, reason in flags.items() if reason is not None]
    return CandidateSet(judged, tuple(scored), tuple(flagged))


def same_text(one: ScoredCandidate, other: ScoredCandidate) -> bool:
    return one.reply.text.strip() == other.reply.text.strip()


def reaches(value: float, least: float) -> bool:
    """Whether ``value >= least``, where means of thirds may miss a whole difference by a rounding error."""
    return value >= least - 1e-9


def _contrast(preference: Preference) -> tuple[float, float, str, str]:
    chosen, rejected = preference.chosen, preference.rejected
    return -chosen.mean, rejected.mean, chosen.reply.id, rejected.reply.id
