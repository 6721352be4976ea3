"""Which texts are the reply to too many prompts, counted block by block.

No process needs to hold every text: one that stands in at least `least` of all `prompts` prompts has at least
that share in some block, however the blocks are cut. So each block names the few that do (`suspects`), and only those
are counted exactly, over all blocks.
"""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from math import floor

from selfreward_ray.preferences.flags import text_key

_LEAST_PROMPTS = 5


def least_count(prompts: int, share: float) -> int:
    """How many of `prompts` prompts make a text constant: more than `share` of them, and at least five."""
    # The decimal as it was written: 0.29 · 100 is below 29 in floats.
    return max(_LEAST_PROMPTS, floor(Fraction(str(share)) * prompts) + 1)


def count_texts(replies: Iterable[Iterable[str]]) -> Counter[bytes]:
    """In how many prompts each text, by its key, is a reply; `replies` holds the texts of one prompt each."""
    return Counter(key for texts in replies for key in {text_key(text) for text in texts})


def suspects(replies: list[list[str]], prompts: int, least: int) -> set[bytes]:
    """Keys of the texts whose share of this block's prompts reaches ``least / prompts``: at most
    ``prompts / least`` for each candidate."""
    return {key for key, count in count_texts(replies).items() if count * prompts >= least * len(replies)}
