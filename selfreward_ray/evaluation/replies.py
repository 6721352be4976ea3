"""Figures of a model's own answers: how long, how sound and, where a program can check it, how right."""

from dataclasses import dataclass
from math import sqrt
from statistics import stdev

from selfreward_ray.evaluation.averages import mean
from selfreward_ray.records import EvaluatedReply

_MAX_TRUE_SCORE = 5


@dataclass(frozen=True)
class ReplyFigures:
    """Figures over held-out prompts, one answer each; None where there is nothing to measure."""

    count: int
    mean_words: float | None
    unfinished: float | None
    """Share cut off by the length limit."""
    repetitive: float | None
    """Share of answers of which fewer than half the four-word runs are different."""
    true_score: float | None
    """Mean true score in percent of the best possible one."""
    true_score_margin: float | None
    """Half the width of its 95 % interval over prompts (normal approximation)."""


def reply_figures(replies: list[EvaluatedReply]) -> ReplyFigures:
    """Figures of `replies`; the true score is over those that have one."""
    percents = [100 * reply.true_score / _MAX_TRUE_SCORE for reply in replies if reply.true_score is not None]
    return ReplyFigures(
        count=len(replies),
        mean_words=mean(len(reply.text.split()) for reply in replies),
        unfinished=mean(not reply.finished for reply in replies),
        repetitive=mean(is_repetitive(reply.text) for reply in replies),
        true_score=mean(percents),
        true_score_margin=1.96 * stdev(percents) / sqrt(len(percents)) if len(percents) > 1 else None,
    )


def is_repetitive(text: str) -> bool:
    """Whether fewer than half of the text's runs of four words are different."""
    words = text.lower().split()
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return 2 * len(set(runs)) < len(runs)
