"""Figures of a model's own answers: how long, how sound and, where a program scores them, how right."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfreward_ray.evaluation.intervals import mean, pooled
from selfreward_ray.records import EvaluatedReply


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
    score: float | None
    """Mean score in percent of the greatest possible one."""
    score_margin: float | None
    """Half the width of its 95 % interval over prompts (normal approximation)."""


def reply_figures(replies: list[EvaluatedReply], percents: Mapping[str, float]) -> ReplyFigures:
    """Figures of `replies`; `percents` has the scores, in percent of the greatest possible, of those that have one."""
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
