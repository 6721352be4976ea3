"""Judged prompts as the report sees them, and the figures of an iteration, which are added up row by row."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import floor

from selfreward_ray.evaluation.intervals import fraction
from selfreward_ray.reporting.summary import IterationSummary

CHOSEN, REJECTED, BOTH, POSITIVE = "chosen", "rejected", "chosen and rejected", "trained on"
PAIRED, TRAINED_ON, NOT_YET = "pair", "trained on by SFT", "pairs are not made yet"
"""What became of a prompt, beside the reasons of dropped ones."""


@dataclass(frozen=True)
class ShownReply:
    """A candidate with its verdicts."""

    id: str
    text: str
    mean: float | None
    finished: bool
    role: str
    """One of the four roles of this module; empty if the candidate is in no training row."""
    flag: str | None
    """Why the reply may not be chosen, if it was flagged."""
    verdicts: tuple[tuple[float | None, str, str], ...]
    """Score, None if it could not be read, text and thought of each verdict."""
    thought: str = ""
    """What the model thought before the reply."""
    thought_tokens: int = 0
    """As `Candidate.thought_tokens`."""


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt of an iteration with its lineage. A prompt that was dropped before it was judged has no replies."""

    id: str
    text: str
    """The text that a judge is shown, which includes the earlier messages of the conversation."""
    outcome: str
    """`PAIRED`, `TRAINED_ON`, `NOT_YET` or the reason why it gives no training row."""
    replies: tuple[ShownReply, ...]
    best: ShownReply | None = None
    """The chosen reply of the pair with the largest margin; None without a pair."""
    worst: ShownReply | None = None
    """The rejected reply of that pair."""

    @property
    def margin(self) -> float | None:
        """Difference of the means of `best` and `worst`, in points of the rubric."""
        if self.best is None or self.worst is None or self.best.mean is None or self.worst.mean is None:
            return None
        return self.best.mean - self.worst.mean


def words(text: str) -> int:
    """Length of a text in words."""
    return len(text.split())


class JudgedFigures:
    """Adds up the figures of one iteration. `scale` is the rubric's range of scores; None if it is not known.

    Means are compared, and put into the histogram, where a candidate has at least `min_valid` readable verdicts: only
    such a candidate takes part in pairs.
    """

    def __init__(self, model: str, judge: str, scale: tuple[float, float] | None, min_valid: int) -> None:
        self._model, self._judge, self._scale, self._min_valid = model, judge, scale, min_valid
        self._outcomes: Counter[str] = Counter()
        self._count: Counter[str] = Counter()
        self._words: Counter[str] = Counter()
        self._scores: defaultdict[str, float] = defaultdict(float)
        self._means: Counter[float] = Counter()
        self._flags: Counter[str] = Counter()

    def add(self, prompt: ShownPrompt) -> None:
        self._outcomes[prompt.outcome] += 1
        for reply in prompt.replies:
            self._add_reply(reply)
        means = [
            round(reply.mean, 6)
            for reply in prompt.replies
            if reply.mean is not None and sum(score is not None for score, *_ in reply.verdicts) >= self._min_valid
        ]
        self._means.update(means)
        self._count["compared"] += len(means) * (len(means) - 1) // 2
        self._count["tied"] += sum(a == b for a, b in combinations(means, 2))
        self._count["several"] += len(means) > 1
        self._count["level"] += len(means) > 1 and len(set(means)) == 1

    def _add_reply(self, reply: ShownReply) -> None:
        self._count["verdicts"] += len(reply.verdicts)
        self._count["unreadable"] += sum(score is None for score, *_ in reply.verdicts)
        self._count["unfinished"] += not reply.finished
        self._flags.update([reply.flag] if reply.flag else [])
        roles = ["candidate"]
        roles += [CHOSEN] if reply.role in (CHOSEN, BOTH, POSITIVE) else []
        roles += [REJECTED] if reply.role in (REJECTED, BOTH) else []
        for role in roles:
            self._count[role] += 1
            self._words[role] += words(reply.text)
            self._scores[role] += reply.mean or 0.0  # a chosen or a rejected reply has a mean

    def summary(self) -> IterationSummary:
        count, scored = self._count, self._means.total()
        return IterationSummary(
            model=self._model,
            judge=self._judge,
            prompts=self._outcomes.total(),
            candidates=count["candidate"],
            unreadable=fraction(count["unreadable"], count["verdicts"]),
            ties=fraction(count["tied"], count["compared"]),
            level=fraction(count["level"], count["several"]),
            at_maximum=None if self._scale is None else fraction(self._means[self._scale[1]], scored),
            histogram={label: bin_count / scored for label, bin_count in self._bins().items()} if scored else {},
            candidate_words=fraction(self._words["candidate"], count["candidate"]),
            chosen_words=fraction(self._words[CHOSEN], count[CHOSEN]),
            rejected_words=fraction(self._words[REJECTED], count[REJECTED]),
            chosen_mean=fraction(self._scores[CHOSEN], count[CHOSEN]),
            rejected_mean=fraction(self._scores[REJECTED], count[REJECTED]),
            unfinished=fraction(count["unfinished"], count["candidate"]),
            outcomes=dict(self._outcomes.most_common()),
            flagged=dict(self._flags.most_common()),
        )

    def _bins(self) -> dict[str, int]:
        """Counts by rounded mean, over the whole range of the rubric, or of the means where the rubric is not known."""
        low, high = self._scale or (floor(min(self._means)), floor(max(self._means)) + 1)
        width = 1.0 if high - low <= 10 else (high - low) / 10
        bins = {f"{low + number * width:g}": 0 for number in range(floor((high - low) / width + 1e-9) + 1)}
        labels = list(bins)
        for value, number in self._means.items():
            place = floor((value - low) / width + 0.5)
            bins[labels[min(max(place, 0), len(labels) - 1)]] += number
        return bins


def merged_histograms(iterations: tuple[IterationSummary, ...]) -> tuple[list[str], Mapping[str, list[float]]]:
    """The labels of all histograms in ascending order, and each iteration's shares in percent, by its judge.

    A model that judged for several iterations, because its successor was rejected, is named with each.
    """
    labels = sorted({label for i in iterations for label in i.histogram}, key=float)
    judged = Counter(i.judge for i in iterations if i.histogram)
    names = [i.judge if judged[i.judge] == 1 else f"{i.judge} for {i.model}" for i in iterations]
    found = {
        name: [100 * i.histogram.get(label, 0.0) for label in labels]
        for name, i in zip(names, iterations, strict=True)
        if i.histogram
    }
    return labels, found
