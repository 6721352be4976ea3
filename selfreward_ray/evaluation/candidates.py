"""Figures of the judged candidates of an iteration: their scores, ties, lengths and repetitions.

They are added up block by block where the candidates are read, so that no later step reads them again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from selfreward_ray.evaluation.intervals import fraction
from selfreward_ray.evaluation.replies import is_repetitive
from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.records import JudgedPrompt, JudgedReply, Pair

_SCORE = "score/"


def score_histogram(judged: Iterable[JudgedReply]) -> dict[str, int]:
    """Number of verdicts by score, as text and in ascending order; unreadable ones are left out."""
    scores = [verdict.score for reply in judged for verdict in reply.verdicts if verdict.score is not None]
    return {f"{score:g}": count for score, count in sorted(Counter(scores).items())}


def count_candidates(prompts: Iterable[JudgedPrompt], pairs: Iterable[Any], min_valid: int) -> Counter[str]:
    """Counts that `candidate_figures` is made of; those of several blocks are added.

    `pairs` are the training rows that the prompts gave. Rows of another kind than `Pair` have no rejected reply and are
    not counted. A candidate with fewer than `min_valid` readable verdicts has no score here.
    """
    counts: Counter[str] = Counter()
    for prompt in prompts:
        texts = Counter(candidate.text.strip() for candidate in prompt.candidates)
        for candidate in prompt.candidates:
            scores = valid_scores(candidate)
            counts["candidates"] += 1
            counts["duplicates"] += texts[candidate.text.strip()] > 1
            counts["unfinished"] += not candidate.finished
            counts["repetitive"] += is_repetitive(candidate.text)
            counts["verdicts"] += len(candidate.verdicts)
            counts["unreadable"] += len(candidate.verdicts) - len(scores)
            counts.update(f"{_SCORE}{score:g}" for score in scores)
        means = [
            round(c.mean, 6) for c in prompt.candidates if c.mean is not None and len(valid_scores(c)) >= min_valid
        ]
        counts["compared"] += len(means) > 1
        counts["tied"] += len(means) > 1 and len(set(means)) == 1
    for pair in pairs:
        if isinstance(pair, Pair):
            counts["pairs"] += 1
            counts["chosen_words"] += len(pair.chosen.text.split())
            counts["rejected_words"] += len(pair.rejected.text.split())
    return counts


def candidate_figures(counts: Mapping[str, int]) -> dict[str, Any]:
    """The manifest's metrics: shares from 0 to 1 and mean lengths in words; None if there is nothing to measure."""
    count = Counter(counts)
    scores = {name.removeprefix(_SCORE): n for name, n in count.items() if name.startswith(_SCORE)}
    return {
        "candidates": count["candidates"],
        "verdicts": count["verdicts"],
        "scores": dict(sorted(scores.items(), key=lambda item: float(item[0]))),
        "unreadable": fraction(count["unreadable"], count["verdicts"]),
        "tied_prompts": fraction(count["tied"], count["compared"]),
        "duplicates": fraction(count["duplicates"], count["candidates"]),
        "unfinished": fraction(count["unfinished"], count["candidates"]),
        "repetitive": fraction(count["repetitive"], count["candidates"]),
        "chosen_words": fraction(count["chosen_words"], count["pairs"]),
        "rejected_words": fraction(count["rejected_words"], count["pairs"]),
    }
