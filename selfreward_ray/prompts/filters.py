"""Filters for proposed prompts, those of Self-Instruct among them (paper, section 2.2).

A filter takes a prompt and returns the reason to refuse it, or None. Reasons are constant strings, so that they can be
counted. `prompts.filters` of the recipe names the filters that apply.
"""

import re
from collections.abc import Callable, Collection

from selfreward_ray.prompts.english import is_english
from selfreward_ray.prompts.similarity import RougeIndex
from selfreward_ray.words import composed, text_length

LENGTHS = "4 to 150 words (or 6 to 225 characters without spaces between words)"
"""The lengths that `length` accepts, for messages."""
CUT_OFF = "cut off by the length limit"
SHORT = "shorter than 4 words"
SHORT_UNSPACED = "shorter than 6 characters"
LONG = "longer than 150 words"
LONG_UNSPACED = "longer than 225 characters"
NOT_TEXT = "asks for something that a text model cannot do"
PROGRAM = "begins with 'Write a program'"
PUNCTUATION = "begins with punctuation"
NOT_ENGLISH = "begins with a non-English character"
REPEATS = "repeats an earlier prompt"

_NEEDS_MORE_THAN_TEXT = re.compile(
    r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go\s+to)\b",
    re.IGNORECASE,
)
_OPENS_A_SENTENCE = "¿¡«»„‚‹《〈「『【〔（"
"""Punctuation with which a sentence may begin in languages other than English."""


def length(text: str) -> str | None:
    """Refuse prompts of fewer than 4 or more than 150 words, or of 6 and 225 characters without spaces between words.

    In a text of both, three such characters count as two words.
    """
    found = text_length(text)
    words = found.in_words(characters_per_word=1.5)
    spaced = found.words >= found.characters
    if words < 4:
        return SHORT if spaced else SHORT_UNSPACED
    if words > 150:
        return LONG if spaced else LONG_UNSPACED
    return None


def capability(text: str) -> str | None:
    """Refuse English prompts with words for images, files or places."""
    return NOT_TEXT if _NEEDS_MORE_THAN_TEXT.search(text) and is_english(text) else None


def program(text: str) -> str | None:
    """Refuse prompts that begin with "Write a program"."""
    return PROGRAM if re.match(r"\s*write\s+a\s+program\b", text, re.IGNORECASE) else None


def punctuation(text: str) -> str | None:
    """Refuse prompts that begin with punctuation, other than marks that open a sentence in some languages.

    English quotation marks are such marks where the prompt is not English.
    """
    first = text.lstrip()[:1]
    if not re.match(r"[^\w\s]|_", first) or first in _OPENS_A_SENTENCE:
        return None
    return None if first in "“‘”" and not is_english(text) else PUNCTUATION


def english(text: str) -> str | None:
    """Refuse prompts that begin with a character that is not English."""
    return None if text.lstrip()[:1].isascii() else NOT_ENGLISH


FILTERS: dict[str, Callable[[str], str | None]] = {
    "length": length,
    "capability": capability,
    "program": program,
    "punctuation": punctuation,
    "english": english,
}
"""The filters of a prompt's text by their names in the recipe, in the order in which they apply. The recipe's
``similar`` is `TooSimilar`, which knows other prompts."""
FILTER_OF = {
    SHORT: "length",
    SHORT_UNSPACED: "length",
    LONG: "length",
    LONG_UNSPACED: "length",
    NOT_TEXT: "capability",
    PROGRAM: "program",
    PUNCTUATION: "punctuation",
    NOT_ENGLISH: "english",
}
"""The name of the filter that gives a reason."""


def first_refusal(text: str, names: Collection[str]) -> str | None:
    """The reason of the first of the filters `names` that refuses `text`; None if there is none."""
    reasons = (refused(text) for name, refused in FILTERS.items() if name in names)
    return next((reason for reason in reasons if reason), None)


class TooSimilar:
    """Refuse prompts that repeat a seed or an admitted prompt, or have a ROUGE-L F1 above `threshold` with one.

    Without a threshold it is repetitions alone.
    """

    def __init__(self, seeds: list[str], threshold: float | None) -> None:
        self._index = None if threshold is None else RougeIndex(seeds, threshold)
        self._too_near = f"ROUGE-L above {threshold:g} with an earlier prompt" if threshold is not None else ""
        # At a threshold of 1, ROUGE-L refuses not even these.
        self._texts = {_one_spaced(seed) for seed in seeds}

    def add(self, text: str) -> None:
        """Compare later prompts with `text` too."""
        if self._index is not None:
            self._index.add(text)
        self._texts.add(_one_spaced(text))

    def __call__(self, text: str) -> str | None:
        if self._index is not None and self._index.is_near(text):
            return self._too_near
        return REPEATS if _one_spaced(text) in self._texts else None


def admit(text: str, finish_reason: str, similar: TooSimilar, names: Collection[str]) -> str | None:
    """Apply the filters `names`. Returns the first reason to refuse `text`, or None.

    Prompts that were cut off or are empty, and those that `similar` refuses, are refused whatever the names are.
    `finish_reason` is the engine's. If the prompt is admitted, the caller must pass it to ``similar.add``.
    """
    if finish_reason != "stop":
        return CUT_OFF
    if reason := first_refusal(text, names):
        return reason
    return similar(text) if text.strip() else "empty"


def _one_spaced(text: str) -> str:
    """With one space between words. A text that is so already is itself returned: its caller may keep it too."""
    spaced = " ".join(composed(text).split())
    return text if text == spaced else spaced
