"""Filters for proposed prompts, as in Self-Instruct (paper, section 2.2).

A filter takes a prompt and returns the reason to refuse it, or None. Reasons are constant strings, so that they can be
counted.
"""

import re

from selfreward_ray.prompts.similarity import RougeIndex

_NEEDS_MORE_THAN_TEXT = re.compile(
    r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go\s+to)\b",
    re.IGNORECASE,
)


def length(text: str) -> str | None:
    """Refuse prompts of fewer than 4 or more than 150 words."""
    words = len(text.split())
    if words < 4:
        return "shorter than 4 words"
    return "longer than 150 words" if words > 150 else None


def capability(text: str) -> str | None:
    """Refuse prompts that need images, files or places."""
    return "asks for something that a text model cannot do" if _NEEDS_MORE_THAN_TEXT.search(text) else None


def beginning(text: str) -> str | None:
    """Refuse prompts that ask for a program, or that begin with punctuation or a letter that is not English."""
    text = text.lstrip()
    if re.match(r"write\s+a\s+program\b", text, re.IGNORECASE):
        return "begins with 'Write a program'"
    if re.match(r"[^\w\s]|_", text):
        return "begins with punctuation"
    return None if text[:1].isascii() else "begins with a non-English character"


def cut_off(finish_reason: str) -> str | None:
    """Refuse prompts that the length limit cut off, by the engine's finish reason."""
    return None if finish_reason == "stop" else "cut off by the length limit"


class TooSimilar:
    """Refuse prompts that repeat a seed or an admitted prompt, or have a ROUGE-L F1 above `threshold` with one."""

    def __init__(self, seeds: list[str], threshold: float) -> None:
        self._index = RougeIndex(seeds, threshold)
        self._too_near = f"ROUGE-L above {threshold:g} with an earlier prompt"
        # ROUGE-L has no words for other scripts and would not find even an exact repetition.
        self._texts = {_one_spaced(seed) for seed in seeds}

    def add(self, text: str) -> None:
        """Compare later prompts with `text` too."""
        self._index.add(text)
        self._texts.add(_one_spaced(text))

    def __call__(self, text: str) -> str | None:
        if self._index.is_near(text):
            return self._too_near
        return "repeats an earlier prompt" if _one_spaced(text) in self._texts else None


def admit(text: str, finish_reason: str, similar: TooSimilar) -> str | None:
    """Apply all filters. Returns the first reason to refuse `text`, or None.

    `finish_reason` is the engine's. If the prompt is admitted, the caller must pass it to ``similar.add``.
    """
    return cut_off(finish_reason) or length(text) or capability(text) or beginning(text) or similar(text)


def _one_spaced(text: str) -> str:
    return " ".join(text.split())
