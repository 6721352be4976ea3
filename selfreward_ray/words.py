"""Words of texts in any script.

Most scripts write spaces between words. Chinese, Japanese, Thai, Lao, Tibetan, Burmese and Khmer, among others, do not:
there each character stands for itself, with the marks above and below it. Korean is written with spaces.
"""

import re
import unicodedata
from dataclasses import dataclass

UNSPACED = (
    r"\u0e00-\u109f"  # Thai, Lao, Tibetan, Burmese
    r"\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua980-\ua9df\uaa60-\uaadf"  # Khmer, and smaller ones of the region
    r"\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\uff66-\uff9f"  # Kana and Bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"  # Han characters, Yi
)
"""The characters of scripts without spaces between words, as ranges for a character class of `re`."""
_MARK_BLOCKS = (range(0x0300, 0x3100), range(0xA600, 0xAC00), range(0xFE00, 0xFE30))
_JOINERS = "\u200c\u200d"
MARKS = _JOINERS + "".join(
    chr(code) for block in _MARK_BLOCKS for code in block if unicodedata.category(chr(code)).startswith("M")
)
"""Combining marks and joiners, for a character class. Python's ``\\w`` has none of them, so it would cut words at the
vowel signs of Hindi."""
CHARACTER = rf"(?=[^\W_])[{UNSPACED}][{MARKS}]*"
"""A pattern of one character of a script without spaces."""

_CHARACTER = re.compile(CHARACTER)
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile(rf"{CHARACTER}|[^\W_{UNSPACED}]+(?:[{MARKS}]+[^\W_{UNSPACED}]*)*")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def words(text: str) -> list[str]:
    """The words of `text` in order and in lower case, without punctuation; each character of an unspaced script.

    Letters and their marks are the same in all Unicode forms.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.casefold())
    return _WORD.findall(composed(composed(text).casefold()))


def composed(text: str) -> str:
    """`text` with each letter and its marks in one character where there is one (Unicode form NFC)."""
    return unicodedata.normalize("NFC", text)


def has_words(text: str) -> bool:
    """Whether there is any letter or digit in `text`."""
    return _LETTER_OR_DIGIT.search(text) is not None


@dataclass(frozen=True)
class Length:
    """The length of a text: `words` between spaces, and `characters` of scripts that have none."""

    words: int
    characters: int

    def in_words(self, characters_per_word: float) -> float:
        """The length in words, if a word has so many characters where no spaces divide them."""
        return self.words + self.characters / characters_per_word


def text_length(text: str) -> Length:
    """The length of `text`. Without characters of an unspaced script, its words are what white space divides."""
    characters = len(_CHARACTER.findall(text))
    if not characters:
        return Length(len(text.split()), 0)
    # What is left may be punctuation alone, such as a Chinese full stop.
    return Length(sum(map(has_words, _CHARACTER.sub(" ", text).split())), characters)
