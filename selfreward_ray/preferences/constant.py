"""Find texts that are the reply to too many prompts, without holding all texts in one process.

A text that answers at least `least` of all `prompts` prompts reaches the share ``least / prompts`` in at least one
block, however the rows are divided into blocks. So each block reports the few texts that reach it (`suspects`), and
only these are counted exactly over all blocks (`count_among`). Those that are answers of the task are then told by
`preferences.evidence`.
"""

from collections import Counter
from collections.abc import Container, Iterable
from fractions import Fraction
from math import floor

from selfreward_ray.preferences.flags import text_key

_LEAST_PROMPTS = 5


def least_count(prompts: int, share: float) -> int:
    """The number of prompts from which on a text counts as constant: more than `share` of `prompts`, at least five."""
    # As an exact decimal: in floats 0.29 · 100 is below 29.
    return max(_LEAST_PROMPTS, floor(Fraction(str(share)) * prompts) + 1)


def count_texts(replies: Iterable[Iterable[str]]) -> Counter[bytes]:
    """Count the prompts that each text answers. Each item of `replies` holds the texts of one prompt; keys are those of
    `text_key`."""
    return Counter(key for texts in replies for key in {text_key(text) for text in texts})


def suspects(replies: list[list[str]], prompts: int, least: int) -> set[bytes]:
    """Keys of the texts that answer at least the share ``least / prompts`` of this block's prompts.

    There are at most ``prompts / least`` of them for each candidate of a prompt.
    """
    return {key for key, count in count_texts(replies).items() if count * prompts >= least * len(replies)}


def count_among(replies: Iterable[Iterable[str]], keys: Container[bytes]) -> tuple[Counter[bytes], dict[bytes, str]]:
    """Count the prompts that each of the texts `keys` answers, and give each as it is written, in its shortest form."""
    counts: Counter[bytes] = Counter()
    written: dict[bytes, str] = {}
    for texts in replies:
        found = {text: key for text in texts if (key := text_key(text)) in keys}
        counts.update(set(found.values()))
        for text, key in found.items():
            written[key] = shorter(text, written.get(key, text))
    return counts, written


def shorter(one: str, other: str) -> str:
    """The shorter of two forms of a text; of equal lengths the first in alphabetical order."""
    return min(one, other, key=lambda text: (len(text), text))
