"""Which rules of the demo world a model's answers keep, if the prompt asks for them and if it does not.

A model that keeps a rule without being asked has a habit. Habits can raise the true score, but not the score on
conditional rules. These appear together with their opposites, so fixed habits score 50 %.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.demo.verifier import MAX_TRUE_SCORE
from selfreward_ray.demo.world import CONDITIONAL_KINDS, Kind
from selfreward_ray.evaluation.intervals import mean, means
from selfreward_ray.records import EvaluatedReply


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer to a held-out prompt with the results of the rule checker."""

    prompt_id: str
    group: str
    """Name of the held-out set of the prompt."""
    answer: EvaluatedReply
    true_score: int
    kept: Mapping[Kind, bool]
    """For each rule that the prompt asks for, whether the answer keeps it."""
    habits: Mapping[Kind, bool]
    """For each rule that the prompt asks for neither directly nor by its opposite, whether the answer keeps it."""


# The following functions return values in percent by prompt id, averaged over the answers to a prompt.
# `intervals.pooled` combines those of several runs.


def true_percent(answer: CheckedAnswer) -> float:
    """The true score of an answer, in percent of the maximum."""
    return 100 * answer.true_score / MAX_TRUE_SCORE


def true_percents(answers: Iterable[CheckedAnswer]) -> dict[str, float]:
    """True scores, in percent of the maximum."""
    return means((a.prompt_id, true_percent(a)) for a in answers)


def conditional_percents(answers: Iterable[CheckedAnswer]) -> dict[str, float]:
    """The share of kept rules among the conditional rules that the prompt asks for."""
    shares = ((a.prompt_id, mean(ok for kind, ok in a.kept.items() if kind in CONDITIONAL_KINDS)) for a in answers)
    return means((prompt, None if share is None else 100 * share) for prompt, share in shares)


def kept_percents(answers: Iterable[CheckedAnswer], kind: Kind) -> dict[str, float]:
    """100 for an answer that keeps `kind` and 0 for one that does not, over prompts that ask for it."""
    return means((a.prompt_id, 100.0 * a.kept[kind]) for a in answers if kind in a.kept)


def habit_percents(answers: Iterable[CheckedAnswer], kind: Kind) -> dict[str, float]:
    """The same over prompts that ask neither for `kind` nor for its opposite."""
    return means((a.prompt_id, 100.0 * a.habits[kind]) for a in answers if kind in a.habits)
