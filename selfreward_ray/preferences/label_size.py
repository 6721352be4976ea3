"""The length of a label in words, in any script."""

import re

from selfreward_ray.words import CHARACTER, MARKS, text_length, words

_LONGEST_WORD = 12
"""Characters of a run that may be one word. A sentence of Thai is a run too, but a longer one."""
_LONGEST_ALONE = 8
_KATAKANA = rf"[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f{MARKS}]+"
_SPELLED = rf"(?:(?=[^\W_])[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff][{MARKS}]*)+"
"""Thai, Lao, Burmese and Khmer, among others."""
_RUN = re.compile(rf"{_KATAKANA}|[\u3041-\u3096\u309d\u309e{MARKS}]+|{_SPELLED}")
_WORD_ALONE = re.compile(rf"{_KATAKANA}|{_SPELLED}")
_CHARACTER = re.compile(CHARACTER)


def label_size(text: str) -> float:
    """The length in words. Words that hyphens or points join count half.

    Two characters of an unspaced script are a word, as are two Chinese ones; so is a run of kana, or of an alphabet
    such as Thai, that is not long.
    """
    runs = [len(_CHARACTER.findall(run)) for run in _RUN.findall(text)]
    saved = sum(max(0.0, size / 2 - 1) for size in runs if size <= _LONGEST_WORD)
    return max(_in_words(text) - saved, len(words(text)) / 2 - saved)


def is_one_word(text: str, label_words: int) -> bool:
    """Whether a label of at most `label_words` words is a single one."""
    if len(text.split()) != 1:
        return False
    # Hiragana spell whole phrases, too: these are short.
    alone = _WORD_ALONE.fullmatch(text) and len(_CHARACTER.findall(text)) <= _LONGEST_ALONE
    return bool(alone) or max(_in_words(text), len(words(text)) / 2) <= label_words


def _in_words(text: str) -> float:
    return text_length(text).in_words(characters_per_word=2)
