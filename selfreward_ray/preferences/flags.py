"""Replies that fool judges: they are given points for saying nothing.

A judge that sees one reply at a time rewards an empty one, the question handed back, or one polite sentence that fits
every prompt; what is chosen is trained on, so one such reply teaches the next model to give it everywhere.
Reasons are fixed texts, to be counted.
"""

import hashlib
import re

EMPTY = "no letter or digit"
OPENING = "an opening with nothing after it"
REPEATED = "the question repeated"
CONSTANT = "the same text for many prompts"

_WORD = re.compile(r"[^\W_]+")
_AFTER_A_COLON = " \t*_#`~>-.…"
"""What may stand behind the colon of an opening and still be nothing: markup and dots."""


def flag_reason(text: str, prompt: str, constant: frozenset[bytes]) -> str | None:
    """Why a reply to `prompt` may not be chosen, or None; `constant` are keys of texts that answer many prompts."""
    words = _words(text)
    if not words:
        return EMPTY
    if _is_opening(text):
        return OPENING
    asked = _words(prompt)
    if asked and words == asked * (len(words) // len(asked)):
        return REPEATED
    return CONSTANT if constant and _key(words) in constant else None


def text_key(text: str) -> bytes:
    """Sixteen bytes that are equal for texts of the same words, whatever their case, punctuation and markup."""
    return _key(_words(text))


def _key(words: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _is_opening(text: str) -> bool:
    # "Thought process:" alone; what ends in a colon after other lines has said something.
    lines = [line for line in text.splitlines() if _WORD.search(line)]
    return len(lines) == 1 and lines[0].rstrip(_AFTER_A_COLON).endswith((":", "："))
