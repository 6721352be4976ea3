"""Which rules of the demo world a model's answers keep: when they are asked to, and when not.

A rule that is kept unasked is a habit. Habits can raise the true score, but not the score on conditional rules alone,
those whose opposite is asked as often: there any habits come to 50 %.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.demo.verifier import MAX_TRUE_SCORE
from selfreward_ray.demo.world import CONDITIONAL_KINDS, Kind
from selfreward_ray.evaluation.intervals import mean, means
from selfreward_ray.records import EvaluatedReply


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer to a held-out prompt, with its true score, and what a program found in it."""

    prompt_id: str
    group: str
    """The held-out set of the prompt."""
    answer: EvaluatedReply
    true_score: int
    kept: Mapping[Kind, bool]
    """For each rule that the prompt asks for, whether the answer keeps it."""
    habits: Mapping[Kind, bool]
    """For each rule of which the prompt asks neither for it nor for its opposite, whether the answer keeps it."""


# Each of these gives values by prompts' ids, means over the answers to a prompt, in percent, to be pooled over runs
# (`intervals.pooled`).


def true_percent(answer: CheckedAnswer) -> float:
    """Its true score, in percent of the best possible one."""
    return 100 * answer.true_score / MAX_TRUE_SCORE


def true_percents(answers: Iterable[CheckedAnswer]) -> dict[str, float]:
    """The true score, in percent of the best possible one."""
    return means((a.prompt_id, true_percent(a)) for a in answers)


def conditional_percents(answers: Iterable[CheckedAnswer]) -> dict[str, float]:
    """Of the conditional rules that its prompt asks for, the share that an answer keeps."""
    shares = ((a.prompt_id, mean(ok for kind, ok in a.kept.items() if kind in CONDITIONAL_KINDS)) for a in answers)
    return means((prompt, None if share is None else 100 * share) for prompt, share in shares)


def kept_percents(answers: Iterable[CheckedAnswer], kind: Kind) -> dict[str, float]:
    """100 for an answer that keeps `kind`, else 0, of the answers that were asked to."""
    return means((a.prompt_id, 100.0 * a.kept[kind]) for a in answers if kind in a.kept)


def habit_percents(answers: Iterable[CheckedAnswer], kind: Kind) -> dict[str, float]:
    """The same of the answers that were asked neither for `kind` nor for its opposite."""
    return means((a.prompt_id, 100.0 * a.habits[kind]) for a in answers if kind in a.habits)
