"""Flag replies without content that judges may still give a high score.

A judge that sees one reply at a time may reward an empty reply, the repeated question, or one polite sentence that
fits every prompt. Chosen replies are trained on, so a single such reply can teach the next model to give it to every
prompt. The reasons are constant strings, so that they can be counted.
"""

import hashlib
import re

EMPTY = "no letter or digit"
OPENING = "an introduction with nothing after it"
REPEATED = "a repetition of the question"
CONSTANT = "the same text for many prompts"

_WORD = re.compile(r"[^\W_]+")
_AFTER_A_COLON = " \t*_#`~>-.…"
"""Characters after the colon of an introduction that are no content: markup and dots."""


def flag_reason(text: str, prompt: str, constant: frozenset[bytes]) -> str | None:
    """The reason why a reply to `prompt` may not be chosen, or None.

    `constant` holds the keys of texts that answer too many prompts; see `preferences.constant`.
    """
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
    """A hash of 16 bytes that is equal for texts with the same words, whatever their case, punctuation and markup."""
    return _key(_words(text))


def _key(words: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _is_opening(text: str) -> bool:
    # One line such as "Thought process:". A text with other lines before the colon has content.
    lines = [line for line in text.splitlines() if _WORD.search(line)]
    return len(lines) == 1 and lines[0].rstrip(_AFTER_A_COLON).endswith((":", "："))
