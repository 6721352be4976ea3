"""Flag replies without content that judges may still give a high score.

A judge that sees one reply at a time may reward an empty reply, the repeated question, or one polite sentence that
fits every prompt. Chosen replies are trained on, so a single such reply can teach the next model to give it to every
prompt. The reasons are constant strings, so that they can be counted. `pairs.flags` of the recipe names the rules.
"""

import hashlib
import re
import unicodedata
from functools import cache

from selfreward_ray.preferences.blank_markup import without_blank_markup
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.words import composed, has_words, words

EMPTY = "nothing but white space, punctuation or markup"
OPENING = "an introduction with nothing after it"
REPEATED = "a repetition of the question"
CONSTANT = "the same text for many prompts"

_AFTER_A_COLON = " \t*_#`~>-.…"
"""Characters after the colon of an introduction that are no content: markup and dots."""
_EMPTY_BLOCK = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n\s*\1[ \t]*$", re.MULTILINE)
_QUOTE_OR_HEADING = re.compile(r"^[ \t]*(?:>+|#+[ \t])(?=[ \t]*\S)", re.MULTILINE)
"""Markup at the beginning of a line. Elsewhere ``>`` and ``#`` are symbols."""
_RULE = re.compile(r"^[ \t]*([-=*_~+|.:#])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE)
_PAIR_OR_FACE = re.compile(r"\{\s*\}|(?<![-*+] )\[\s*\]|\(\s*\)|[:;]-?[()]")
"""Brackets with nothing in between, such as an empty JSON object, and faces."""
_SYMBOLS = "%&@/\\§"
"""Punctuation that may be an answer by itself, as symbols may."""
_MARKUP = "~|\u2800\ufffc\ufffd◦●○■□▪▫▶►"
"""Symbols of markup, bullets, and characters without a picture, which may not."""
_CODE_LINE = re.compile(
    r"(?:else|try|finally|default|public|private|protected|except(?: .+)?|(?:async )?def \w+\(.*\)(?: ?-> ?.+)?"
    r"|class \w+(?:\(.*\))?|(?:if|elif|while)(?: not)? ?\S*(?: ?(?:[<>=!%&|+*/-]+|(?:in|is|and|or|not)\b).*)?"
    r"|(?:async )?for \w+(?:, ?\w+)* in .+|(?:async )?with \S+\(.*\)(?: as \w+)?|(?:match|case) \S+|lambda\b.*):"
)
"""Lines of code that end with a colon, as prose seldom does."""
_CODE_SYMBOL = re.compile(r"[+=<>&%$@/\\#^|]|(?<!\w)-(?=\d)")


def flag_reason(text: str, prompt: str, constant: frozenset[bytes], pairs: Pairs | None = None) -> str | None:
    """The reason why a reply to `prompt` may not be chosen, or None.

    `constant` holds the keys of texts that answer too many prompts; see `preferences.constant`. Without `pairs`, all
    rules apply.
    """
    pairs = pairs or Pairs()
    if pairs.labels and text_key(text) in _keys(pairs.labels):
        return None
    shown = _EMPTY_BLOCK.sub("", text)
    if not has_content(shown):
        return EMPTY if "empty" in pairs.flags else None
    if "opening" in pairs.flags and _is_opening(shown):
        return OPENING
    if "repeated" in pairs.flags and _repeats(shown, prompt):
        return REPEATED
    return CONSTANT if constant and text_key(text) in constant else None


def text_key(text: str) -> bytes:
    """A hash of 16 bytes that is equal for texts with the same words, whatever their case, punctuation and markup.

    The symbols of code and numbers count too: ``C++`` is not ``C``. A text without words is taken as it is, apart from
    white space.
    """
    text = composed(text)
    found = words(text)
    if not found:
        return _hash("".join(text.replace("`", "").split()))
    symbols = _CODE_SYMBOL.findall(_QUOTE_OR_HEADING.sub("", text))
    return _hash(" ".join(found + symbols))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@cache
def _keys(labels: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(map(text_key, labels))


def has_content(text: str) -> bool:
    """Whether there is a letter, a digit, a symbol or code in `text`, and not punctuation or markup alone."""
    text = without_blank_markup(text)
    if has_words(text):
        return True
    if _last_code(text) or _PAIR_OR_FACE.search(text):
        return True
    marked_up = _RULE.sub("", _QUOTE_OR_HEADING.sub("", text))
    return any(map(_is_symbol, marked_up))


def _is_symbol(character: str) -> bool:
    if character in _MARKUP or "\u2500" <= character <= "\u259f":  # the latter draw boxes
        return False
    return character in _SYMBOLS or unicodedata.category(character) in ("Sm", "Sc", "So") or character == "^"


def _last_code(text: str) -> str:
    """The code with which a text ends, between backticks; empty if it ends with something else, or with dots alone."""
    text = text.rstrip()
    ticks = len(text) - len(text.rstrip("`"))
    inside = text[: len(text) - ticks]
    before = inside.rfind("`" * ticks) if ticks else -1
    return inside[before + ticks :].strip(" \t\n.:…") if before >= 0 else ""


def _is_opening(text: str) -> bool:
    # One line such as "Thought process:". A text with other lines before the colon has content, and so have code, and
    # symbols on the lines after it.
    if _last_code(text):
        return False
    lines = without_blank_markup(text).splitlines()
    spoken = [number for number, line in enumerate(lines) if has_words(line)]
    if len(spoken) != 1:
        return False
    line, after = lines[spoken[0]], "\n".join(lines[spoken[0] + 1 :])
    if not line.rstrip(_AFTER_A_COLON).endswith((":", "：")) or _CODE_LINE.fullmatch(line.strip()):
        return False
    return not (after.strip(_AFTER_A_COLON + "\n") and has_content(after))


def _repeats(text: str, prompt: str) -> bool:
    """Whether `text` is the prompt's words, once or several times."""
    asked, said = words(prompt), words(text)
    return bool(asked and said) and said == asked * (len(said) // len(asked))
