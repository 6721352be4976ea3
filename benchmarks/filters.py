"""The near-duplicate filter at scale: its time, its growth, and its agreement with `rouge-score`.

    make bench-filters

The last line is JSON. `seconds`: time to index `kept` prompts (20,000) and then filter `new` ones (10,000, or `--new`)
one by one, where each admitted prompt is added. `growth_exponent`: the slope of log seconds over log new prompts, from
a quarter of `new` to twice as many, always with twice as many kept prompts. `equal_to_rouge_score`: whether all
compared decisions and values are equal; the exit status is 1 if not.
"""

import argparse
import json
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate, chain, islice, product
from typing import Protocol

from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer

from selfreward_ray.prompts.filters import TooSimilar
from selfreward_ray.prompts.similarity import RougeIndex

THRESHOLD = 0.7
NEW = 10_000
REPEATS = 5
SAMPLED_PAIRS = 2_000
SAMPLED_PROMPTS = 32  # each against all kept prompts; takes rouge-score some seconds
ROUNDING = 1e-9
"""Above rouge-score's rounding errors, and below the smallest difference of two F1 values: 1 / 300**2 at 150 words."""


class Writer:
    """Generates prompts of artificial words.

    Word frequencies are as in English: ten words make up 23 % of a text, a hundred 50 %, a thousand 75 %. Half the
    prompts open with a common phrase. Three in ten are edits of an earlier one.
    """

    def __init__(self, seed: int, vocabulary: int = 20_000) -> None:
        self._rng = random.Random(seed)
        syllables = [c + v for c in "bcdfghklmnprstvwz" for v in ("a", "e", "i", "o", "u", "ai", "ou")]
        words = chain.from_iterable(product(syllables, repeat=length) for length in (1, 2, 3))  # common words are short
        self._words = ["".join(word) for word in islice(words, vocabulary)]
        self._weights = list(accumulate((rank + 2.7) ** -1.1 for rank in range(1, vocabulary + 1)))
        self._openings = [self._draw(self._rng.randint(2, 5)) for _ in range(60)]

    def prompts(self, count: int) -> list[str]:
        written: list[str] = []
        while len(written) < count:
            is_edit = written and self._rng.random() < 0.3
            written.append(self.edit(self._rng.choice(written)) if is_edit else self._new())
        return written

    def edit(self, text: str) -> str:
        """The text with up to half of its words replaced, removed, or followed by a new one."""
        rate = self._rng.uniform(0, 0.5)
        edited: list[str] = []
        for word in text.split():
            if self._rng.random() < rate:
                edited += self._rng.choice([self._draw(1), self._draw(1), [word, *self._draw(1)], []])
            else:
                edited.append(word)
        edited += self._draw(4 - len(edited)) if len(edited) < 4 else []
        return " ".join(edited[:150])

    def _new(self) -> str:
        length = min(150, max(4, round(self._rng.lognormvariate(math.log(20), 0.7))))
        opening = self._rng.choice(self._openings) if self._rng.random() < 0.5 else []
        words = [*opening, *self._draw(length)][:length]
        return " ".join(words).capitalize() + self._rng.choice(".?!")

    def _draw(self, count: int) -> list[str]:
        return self._rng.choices(self._words, cum_weights=self._weights, k=count)


class Filter(Protocol):
    """The interface of `TooSimilar`: return a reason to reject a prompt, or add an admitted one."""

    def __call__(self, text: str) -> object: ...

    def add(self, text: str) -> None: ...


class ComparesWithEach:
    """The same decisions without an index: rapidfuzz on each kept prompt until one is similar."""

    def __init__(self, kept: list[str]) -> None:
        self._letters: dict[str, str] = {}
        self._kept = [self._encoded(text) for text in kept]

    def add(self, text: str) -> None:
        self._kept.append(self._encoded(text))

    def __call__(self, text: str) -> bool:
        new = self._encoded(text)
        for old in self._kept:
            least = 7 * (len(new) + len(old)) // 20 + 1  # of all L with 2L > 0.7 (m + n)
            if LCSseq.similarity(new, old, score_cutoff=least):
                return True
        return False

    def _encoded(self, text: str) -> str:
        words = re.findall("[a-z0-9]+", text.lower())
        return "".join(self._letters.setdefault(word, chr(len(self._letters))) for word in words)


def indexed(kept: list[str]) -> TooSimilar:
    return TooSimilar(kept, THRESHOLD)


def admission(make: Callable[[list[str]], Filter], kept: list[str], new: list[str]) -> tuple[float, list[bool]]:
    """Seconds to create a filter of `kept` and apply it to `new`, and which of these were rejected."""
    start = time.perf_counter()
    too_similar = make(kept)
    refused = []
    for text in new:
        refused.append(bool(too_similar(text)))
        if not refused[-1]:
            too_similar.add(text)
    return time.perf_counter() - start, refused


def measure_growth(prompts: list[str], sizes: list[int]) -> dict[int, float]:
    """Median seconds by the number of new prompts; twice as many are kept."""
    times: dict[int, list[float]] = {new: [] for new in sizes}
    # Each repeat runs all sizes, so that changes in machine load affect all of them alike.
    for repeat, new in product(range(REPEATS), sizes):
        kept = 2 * new
        seconds, refused = admission(indexed, prompts[:kept], prompts[kept : kept + new])
        times[new].append(seconds)
        print(f"{repeat + 1}: {new:6,} new, {kept:6,} kept: {seconds:6.2f} s, {sum(refused):5,} refused", flush=True)
    return {new: statistics.median(repeats) for new, repeats in times.items()}


def same_without_index(prompts: list[str], new: int) -> bool:
    """Compare decisions and time with those of `ComparesWithEach`, in turns."""
    kept = 2 * new
    ratios, equal = [], True
    for _ in range(REPEATS):
        seconds, refused = admission(indexed, prompts[:kept], prompts[kept : kept + new])
        seconds_each, refused_each = admission(ComparesWithEach, prompts[:kept], prompts[kept : kept + new])
        ratios.append(seconds_each / seconds)
        equal = equal and refused == refused_each
    times = f"{statistics.median(ratios):.0f} times as long ({min(ratios):.0f} to {max(ratios):.0f})"
    print(f"{new:6,} new, {kept:6,} kept, rapidfuzz on each: {times}, {'same' if equal else 'OTHER'} decisions")
    return equal


def same_values(pairs: list[tuple[str, str]], scorer: RougeScorer) -> bool:
    """Whether each pair is similar at a threshold just below rouge-score's F1, and not just above it."""
    wrong = alike = 0
    for old, new in pairs:
        value = f1(scorer, old, new)
        below = value == 0 or RougeIndex([old], value - ROUNDING).is_near(new)
        above = RougeIndex([old], value + ROUNDING).is_near(new)
        wrong += above or not below
        alike += value > 0.5
    print(f"{len(pairs):6,} pairs, {alike:,} of them with F1 > 0.5: {wrong} differ from rouge-score", flush=True)
    return wrong == 0


def same_decisions(kept: list[str], new: list[str], scorer: RougeScorer) -> bool:
    """Whether the filter rejects exactly those of `new` that rouge-score finds similar to any of `kept`."""
    too_similar = indexed(kept)
    wrong = near = 0
    for text in new:
        is_near = any(f1(scorer, old, text) > THRESHOLD + ROUNDING for old in kept)
        wrong += is_near != bool(too_similar(text))
        near += is_near
    print(f"{len(new):6,} new, {near} of them near one of {len(kept):,} kept: {wrong} differ from rouge-score")
    return wrong == 0


def f1(scorer: RougeScorer, old: str, new: str) -> float:
    return float(scorer.score(old, new)["rougeL"].fmeasure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--new", type=int, default=NEW, help="new prompts; four or more")
    new = parser.parse_args().new
    kept, sizes = 2 * new, [new // 4, new // 2, new, 2 * new]
    writer, rng, scorer = Writer(seed=0), random.Random(1), RougeScorer(["rougeL"])
    prompts = writer.prompts(3 * sizes[-1])
    words = [len(text.split()) for text in prompts]
    print(
        f"{len(prompts):,} prompts of {min(words)} to {max(words)} words, {statistics.median(words):.0f} in the median"
    )

    medians = measure_growth(prompts, sizes)
    slope, _ = statistics.linear_regression([math.log(new) for new in medians], [math.log(s) for s in medians.values()])

    pairs = [
        (old, rng.choice([rng.choice(prompts), writer.edit(old)]))
        for old in rng.choices(prompts, k=min(SAMPLED_PAIRS, kept))
    ]
    known, unknown = prompts[:kept], prompts[kept : kept + new]
    half = min(SAMPLED_PROMPTS // 2, new)
    sample = [*rng.sample(unknown, half), *(writer.edit(text) for text in rng.sample(known, half))]
    # A list, so that all checks run.
    equal = all(
        [same_without_index(prompts, sizes[0]), same_values(pairs, scorer), same_decisions(known, sample, scorer)]
    )
    figures = {
        "new": new,
        "kept": kept,
        "seconds": float(f"{medians[new]:.3g}"),
        "growth_exponent": round(slope, 2),
        "equal_to_rouge_score": equal,
    }
    print(json.dumps(figures))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
