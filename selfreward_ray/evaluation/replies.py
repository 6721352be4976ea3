"""Figures of a model's own answers: how long, how sound and, where a program can check it, how right."""

from collections.abc import Iterable
from dataclasses import dataclass

from selfreward_ray.evaluation.averages import mean
from selfreward_ray.evaluation.pooling import pooled
from selfreward_ray.records import EvaluatedReply

MAX_TRUE_SCORE = 5
"""And the best score of each rubric that the demo world's verdicts are written for."""


@dataclass(frozen=True)
class ReplyFigures:
    """Figures over held-out prompts, one answer each; None where there is nothing to measure."""

    count: int
    mean_words: float | None
    unfinished: float | None
    """Share cut off by the length limit."""
    repetitive: float | None
    """Share of answers of which fewer than half the four-word runs are different."""
    distinct_1: float | None
    """Different words a word, over all answers together: it falls with their number (Li et al., 2016)."""
    distinct_2: float | None
    """Different runs of two words a run."""
    true_score: float | None
    """Mean true score in percent of the best possible one."""
    true_score_margin: float | None
    """Half the width of its 95 % interval over prompts (normal approximation)."""


def reply_figures(replies: list[EvaluatedReply]) -> ReplyFigures:
    """Figures of `replies`; the true score is over those that have one."""
    percents = {reply.id: percent for reply in replies if (percent := true_percent(reply)) is not None}
    return ReplyFigures(
        count=len(replies),
        mean_words=mean(len(reply.text.split()) for reply in replies),
        unfinished=mean(not reply.finished for reply in replies),
        repetitive=mean(is_repetitive(reply.text) for reply in replies),
        distinct_1=distinct(replies, 1),
        distinct_2=distinct(replies, 2),
        true_score=mean(percents.values()),
        true_score_margin=pooled([percents]).margin if percents else None,
    )


def true_percent(reply: EvaluatedReply) -> float | None:
    """The true score of `reply` in percent of the best possible one; None where no program could check it."""
    return None if reply.true_score is None else 100 * reply.true_score / MAX_TRUE_SCORE


def distinct(replies: Iterable[EvaluatedReply], length: int) -> float | None:
    """Share of different ones among all runs of `length` words, 0 to 1; None where there is no such run."""
    runs = [run for reply in replies for run in _runs(reply.text, length)]
    return len(set(runs)) / len(runs) if runs else None


def is_repetitive(text: str) -> bool:
    """Whether fewer than half of the text's runs of four words are different."""
    runs = _runs(text, 4)
    return 2 * len(set(runs)) < len(runs)


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return list(zip(*(words[i:] for i in range(length)), strict=False))
