"""A judged prompt as every policy sees it: who may be chosen, who may be rejected, and why nobody can be.

A candidate takes part from ``judge.min_valid`` valid verdicts on, and may then be rejected. It may be chosen where
it is finished and sound too. No rule asks in which order the candidates were sampled.
"""

from dataclasses import dataclass

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences.sound import fault
from selfreward_ray.recipe.schema import Judge
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair

TOO_FEW_VERDICTS = "fewer than two candidates with enough valid verdicts"
SAME_MEAN = "all candidates have the same mean score"
UNFINISHED = "no finished candidate above the lowest mean"
CAUGHT = "every finished candidate above the lowest mean was caught"
SAME_TEXT = "no lower candidate differs in text"


@dataclass(frozen=True)
class Rival:
    """A candidate that takes part. `fault` is one of `sound`'s reasons."""

    candidate: Candidate
    mean: float
    fault: str | None


@dataclass(frozen=True)
class Preference:
    """`chosen` may be chosen, has the greater mean, and another text than `rejected`."""

    chosen: Rival
    rejected: Rival

    @property
    def difference(self) -> float:
        """Of the means, above 0."""
        return self.chosen.mean - self.rejected.mean


@dataclass(frozen=True)
class Contest:
    """A judged prompt and those of its candidates that take part: best mean first, equal means by id."""

    prompt: JudgedPrompt
    rivals: tuple[Rival, ...]
    caught: tuple[Dropped, ...]
    """Every candidate with a fault, whether it takes part or not."""

    def preferences(self) -> list[Preference] | Dropped:
        """Every preference, or the reason (one of this module's five) why there is none.

        The best against the worst comes first: the highest chosen mean, then the lowest rejected mean, then the ids.
        """
        if len(self.rivals) < 2:
            return self.drop(TOO_FEW_VERDICTS)
        above = [rival for rival in self.rivals if rival.mean > self.rivals[-1].mean]
        if not above:
            return self.drop(SAME_MEAN)
        finished = [rival for rival in above if rival.candidate.finished]
        if not finished:
            return self.drop(UNFINISHED)
        sound = [rival for rival in finished if rival.fault is None]
        if not sound:
            return self.drop(CAUGHT)
        found = [
            Preference(chosen, rejected)
            for chosen in sound
            for rejected in self.rivals
            if chosen.mean > rejected.mean and not same_text(chosen, rejected)
        ]
        return sorted(found, key=_contrast) or self.drop(SAME_TEXT)

    def pair(self, preference: Preference, name: str = "pair", label_smoothing: float = 0.0) -> Pair:
        """The preference as a row with the id ``{prompt}/{name}``."""
        chosen, rejected = preference.chosen.candidate, preference.rejected.candidate
        prompt = self.prompt
        return Pair(f"{prompt.id}/{name}", prompt.text, prompt.token_ids, chosen, rejected, label_smoothing)

    def drop(self, reason: str) -> Dropped:
        return Dropped(self.prompt.id, "pair", reason)


def hold_contest(judged: JudgedPrompt, judge: Judge, constant: frozenset[bytes]) -> Contest:
    """The contest of `judged`; `constant` are the keys of texts that answer too many prompts."""
    faults = {c.id: fault(c.text, judged.text, constant) for c in judged.candidates}
    rivals = [
        Rival(c, c.mean, faults[c.id])
        for c in judged.candidates
        if c.mean is not None and len(valid_scores(c)) >= judge.min_valid
    ]
    rivals.sort(key=lambda rival: (-rival.mean, rival.candidate.id))
    caught = [Dropped(name, "pair", reason) for name, reason in faults.items() if reason is not None]
    return Contest(judged, tuple(rivals), tuple(caught))


def same_text(one: Rival, other: Rival) -> bool:
    return one.candidate.text.strip() == other.candidate.text.strip()


def reaches(value: float, least: float) -> bool:
    """Whether ``value >= least``, where means of thirds may miss a whole difference by a rounding error."""
    return value >= least - 1e-9


def _contrast(preference: Preference) -> tuple[float, float, str, str]:
    chosen, rejected = preference.chosen, preference.rejected
    return -chosen.mean, rejected.mean, chosen.candidate.id, rejected.candidate.id
