"""Which proposed prompts are let in, as in Self-Instruct (paper, section 2.2).

A filter takes the prompt and returns the reason to refuse it, or None. Reasons are fixed texts, to be counted.
"""

import re

from rapidfuzz.distance import LCSseq

_NEEDS_MORE_THAN_TEXT = re.compile(
    r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go\s+to)\b",
    re.IGNORECASE,
)


def length(text: str) -> str | None:
    """Refuses fewer than 4 or more than 150 words."""
    words = len(text.split())
    if words < 4:
        return "shorter than 4 words"
    return "longer than 150 words" if words > 150 else None


def capability(text: str) -> str | None:
    """Refuses what a model of text can not see, draw or visit."""
    return "asks for what a text model can not give" if _NEEDS_MORE_THAN_TEXT.search(text) else None


def beginning(text: str) -> str | None:
    """Refuses beginnings that promise a program, a fragment or another language."""
    if re.match(r"write a program\b", text, re.IGNORECASE):
        return "begins with 'Write a program'"
    if re.match(r"[^\w\s]|_", text):
        return "begins with punctuation"
    return None if text[:1].isascii() else "begins with a non-English character"


def cut_off(finish_reason: str) -> str | None:
    """Refuses what the length limit ended, by the engine's finish reason."""
    return None if finish_reason == "stop" else "cut off by the length limit"


class TooSimilar:
    """Refuses a prompt whose ROUGE-L F1 with a seed or an admitted prompt exceeds `threshold`."""

    def __init__(self, seeds: list[str], threshold: float) -> None:
        self._threshold = threshold
        self._known = [_tokens(seed) for seed in seeds]

    def add(self, text: str) -> None:
        """Remembers an admitted prompt."""
        self._known.append(_tokens(text))

    def __call__(self, text: str) -> str | None:
        tokens = _tokens(text)
        near = any(_rouge_l(tokens, known) > self._threshold for known in self._known)
        return f"ROUGE-L above {self._threshold:g} with an earlier prompt" if near else None


def admit(text: str, finish_reason: str, similar: TooSimilar) -> str | None:
    """The first reason to refuse `text`, or None; the caller then tells `similar` with `add`."""
    return cut_off(finish_reason) or length(text) or capability(text) or beginning(text) or similar(text)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _rouge_l(a: list[str], b: list[str]) -> float:
    # F1 of L/len(a) and L/len(b), L the longest common subsequence.
    return 2 * int(LCSseq.similarity(a, b)) / (len(a) + len(b)) if a and b else 0.0
