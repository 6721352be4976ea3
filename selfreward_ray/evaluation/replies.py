"""Metrics of a model's own answers: length, repetition, diversity and, if the recipe has a scorer, the mean score."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.evaluation.intervals import mean, pooled
from selfreward_ray.records import EvaluatedReply


@dataclass(frozen=True)
class ReplyFigures:
    """Metrics over held-out prompts, one answer each; None if there is nothing to measure."""

    count: int
    """Number of answers."""
    mean_words: float | None
    """Mean length in words."""
    unfinished: float | None
    """Fraction of answers that the length limit cut off."""
    repetitive: float | None
    """Fraction of answers for which `is_repetitive` holds."""
    distinct_1: float | None
    """Distinct-1 (Li et al., 2016): different words divided by all words, over all answers. It falls as their number
    grows."""
    distinct_2: float | None
    """Distinct-2: the same for bigrams."""
    score: float | None
    """Mean score, in percent of the maximum."""
    score_margin: float | None
    """Half the width of the 95 % interval of `score` over prompts (normal approximation)."""


def reply_figures(replies: list[EvaluatedReply], percents: Mapping[str, float]) -> ReplyFigures:
    """Metrics of `replies`. `percents` maps the ids of scored replies to their scores, in percent of the maximum."""
    return ReplyFigures(
        count=len(replies),
        mean_words=mean(len(reply.text.split()) for reply in replies),
        unfinished=mean(not reply.finished for reply in replies),
        repetitive=mean(is_repetitive(reply.text) for reply in replies),
        distinct_1=distinct(replies, 1),
        distinct_2=distinct(replies, 2),
        score=mean(percents.values()),
        score_margin=pooled([percents]).margin if percents else None,
    )


def distinct(replies: Iterable[EvaluatedReply], length: int) -> float | None:
    """Different n-grams of `length` words divided by all of them, over all replies; None if there are none."""
    runs = [run for reply in replies for run in _runs(reply.text, length)]
    return len(set(runs)) / len(runs) if runs else None


def is_repetitive(text: str) -> bool:
    """Whether fewer than half of the text's four-word n-grams are different."""
    runs = _runs(text, 4)
    return 2 * len(set(runs)) < len(runs)


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return list(zip(*(words[i:] for i in range(length)), strict=False))
