"""The candidates of a judged prompt as every pair policy sees them.

A candidate takes part if it has at least ``judge.min_valid`` valid verdicts; it may then be the rejected reply. To be
chosen it must also be eligible: finished, and not flagged by `preferences.flags`. The order in which the candidates
were sampled never matters.
"""

from dataclasses import dataclass

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences.flags import flag_reason
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.recipe.schema import Judge
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair

TOO_FEW_VERDICTS = "fewer than two candidates with enough valid verdicts"
SAME_MEAN = "all candidates have the same mean score"
UNFINISHED = "no finished candidate above the lowest mean"
FLAGGED = "every finished candidate above the lowest mean was flagged"
SAME_TEXT = "no lower candidate differs in text"


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate with enough valid verdicts."""

    reply: Candidate
    mean: float
    """Mean of its valid scores, in points of the rubric."""
    flag: str | None
    """One of the reasons of `preferences.flags`; None if the reply is not flagged."""


@dataclass(frozen=True)
class Preference:
    """Two candidates with different means and texts, of which the better one is eligible."""

    chosen: ScoredCandidate
    rejected: ScoredCandidate

    @property
    def difference(self) -> float:
        """The difference of the means, above 0."""
        return self.chosen.mean - self.rejected.mean


@dataclass(frozen=True)
class CandidateSet:
    """A judged prompt and its scored candidates."""

    prompt: JudgedPrompt
    scored: tuple[ScoredCandidate, ...]
    """Sorted by mean, the highest first; equal means by id."""
    flagged: tuple[Dropped, ...]
    """All flagged candidates with their reasons, with enough valid verdicts or not."""

    def preferences(self) -> list[Preference] | Dropped:
        """All preferences, or a `Dropped` row with one of this module's five reasons.

        Sorted by the chosen mean (highest first), then the rejected mean (lowest first), then the ids. So the first
        one is the best candidate against the worst.
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
        """The preference as a training row with the id ``{prompt id}/{name}``."""
        chosen, rejected = preference.chosen.reply, preference.rejected.reply
        prompt = self.prompt
        ids, history = prompt.token_ids, prompt.history
        return Pair(f"{prompt.id}/{name}", prompt.text, ids, chosen, rejected, label_smoothing, history)

    def drop(self, reason: str) -> Dropped:
        """The prompt as a row dropped by the pair step."""
        return Dropped(self.prompt.id, "pair", reason)


def build_candidate_set(
    judged: JudgedPrompt, judge: Judge, constant: frozenset[bytes], pairs: Pairs | None = None
) -> CandidateSet:
    """Score and flag the candidates of `judged`, by `flag_reason` with `constant` and `pairs`."""
    flags = {c.id: flag_reason(c.text, judged.text, constant, pairs) for c in judged.candidates}
    scored = [
        ScoredCandidate(c, c.mean, flags[c.id])
        for c in judged.candidates
        if c.mean is not None and len(valid_scores(c)) >= judge.min_valid
    ]
    scored.sort(key=lambda candidate: (-candidate.mean, candidate.reply.id))
    flagged = [Dropped(name, "pair", reason) for name, reason in flags.items() if reason is not None]
    return CandidateSet(judged, tuple(scored), tuple(flagged))


def same_text(one: ScoredCandidate, other: ScoredCandidate) -> bool:
    """Whether two replies are equal but for white space at their ends."""
    return one.reply.text.strip() == other.reply.text.strip()


def reaches(value: float, least: float) -> bool:
    """Whether ``value >= least``, with a tolerance: means of three scores are thirds, which floats round."""
    return value >= least - 1e-9


def _contrast(preference: Preference) -> tuple[float, float, str, str]:
    chosen, rejected = preference.chosen, preference.rejected
    return -chosen.mean, rejected.mean, chosen.reply.id, rejected.reply.id
