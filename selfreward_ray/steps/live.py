"""Metrics of a step on the pool while it runs."""

import math
import time
from collections import Counter
from collections.abc import Callable

from selfreward_ray.evaluation.intervals import fraction
from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.reporting.silence import SECONDS_BETWEEN_LINES


class LiveMetrics:
    """Records the metrics of a step that runs on the pool in its `progress`, as often as a line of a log.

    `tokens` were generated before its turn, and are no speed of it.
    """

    def __init__(self, progress: Progress, tokens: int = 0, clock: Callable[[], float] = time.monotonic):
        self._progress = progress
        self._clock = clock
        self._before = clock(), tokens
        """Time and generated tokens at the previous record."""

    def update(self, counted: BlockCounts, done: int, total: int) -> None:
        """`counted` is the sum of the finished blocks, `done` of `total` rows are finished."""
        now, (then, tokens) = self._clock(), self._before
        if now - then < SECONDS_BETWEEN_LINES and done < total:
            return
        self._before = now, counted.generated_tokens
        speed = {"tokens_per_second": (counted.generated_tokens - tokens) / (now - then)} if now > then else {}
        self._progress.record({"rows_left": total - done, **speed, **shares(counted)}, at=done)


def shares(counted: BlockCounts) -> dict[str, float]:
    """What `counted` says of the finished rows, as shares from 0 to 1 and a mean; nothing for what was not counted.

    ``score_share/4``: verdicts with the score 4, of those with a score. Scores of more than ten points are counted in
    tens, hundreds and so on: ``score_share/40`` are those from 40 to below 50.
    """
    scores = {float(score): count for score, count in counted.scores.items()}
    scored = sum(scores.values())
    found = {
        "dropped_share": fraction(counted.dropped, counted.rows),
        "prefix_hit_rate": fraction(counted.cached_tokens, counted.prompt_tokens),
        "unreadable_share": fraction(counted.invalid_verdicts, counted.verdicts),
        "mean_score": fraction(sum(score * count for score, count in scores.items()), scored),
    }
    found |= {f"score_share/{low:g}": count / scored for low, count in sorted(_binned(scores).items())}
    return {name: value for name, value in found.items() if value is not None}


def _binned(scores: dict[float, int]) -> Counter[float]:
    """`scores` and their counts by the lower end of their bin; at most eleven bins above ten points."""
    highest = max(scores, default=0)
    width = 10 ** (math.ceil(math.log10(highest)) - 1) if highest > 10 else 0
    bins: Counter[float] = Counter()
    for score, count in scores.items():
        bins[score // width * width if width else score] += count
    return bins
