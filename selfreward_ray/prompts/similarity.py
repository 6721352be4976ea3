"""Find near-duplicates by ROUGE-L (Lin, 2004), in any script, without comparing a text with every other one."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from rapidfuzz.distance import LCSseq

from selfreward_ray.words import CHARACTER, MARKS, UNSPACED, composed

_UNKNOWN = "\0"
_ANY_SIZE = 2**31 - 1
_ACCENTED = r"\u00aa-\u02af\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f"
"""Latin letters beyond a-z, at which `rouge-score` divides words."""
_LATIN_WORD = re.compile(r"[a-z0-9]+")
_OTHER = rf"[^\W_a-z0-9{_ACCENTED}{UNSPACED}]"
_ANY_WORD = re.compile(rf"[a-z0-9]+|{CHARACTER}|{_OTHER}+(?:[{MARKS}]+{_OTHER}*)*")


class RougeIndex:
    """An index of texts that tells whether another text is near to one of them.

    Two texts are near if their ROUGE-L F1 is above `threshold` (above 0, at most 1). The result is exact: the same as
    by comparison with every text. Words are those of `rouge_words`, without stemming; for English the values are those
    of the package `rouge-score`. For texts of m and n words with a longest common subsequence of L words, F1 is
    2L / (m + n). It is compared as a fraction; 0.7 is 7/10. A text without any character is near to none.

    Most texts are excluded by an upper bound on L, with the prefix and position filters of set-similarity joins
    (Chaudhuri et al., 2006; Xiao et al., 2008). L is at most the number of words that two texts share in any order,
    repeated words counted. Sort the words of both texts by the same order. Let r and s be the numbers of words from a
    shared word to the end of the one and the other text, that word included. At the first shared word L <= min(r, s);
    at the second L <= 1 + min(r, s). If the threshold requires L >= 2, a near pair must share two words for which
    1 + min(r, s) is large enough. Only words near the front of each text qualify. With rare words sorted to the front,
    few texts share them, and only those are compared in full.
    """

    def __init__(self, texts: list[str], threshold: float) -> None:
        # From the shortest decimal of the float: 0.7 as a float is slightly less than 7/10.
        self._part, self._whole = Fraction(str(threshold)).as_integer_ratio()
        self._letters: dict[str, str] = {}
        self._known = [self._learn(text) for text in texts]
        self._build()

    def add(self, text: str) -> None:
        """Add `text` to the index."""
        self._known.append(self._learn(text))
        if len(self._known) > 2 * self._built:
            self._build()
        else:
            self._post(len(self._known) - 1)

    def is_near(self, text: str) -> bool:
        """Whether the ROUGE-L F1 of `text` with any text of the index is above the threshold."""
        letters = "".join(self._letters.get(word, _UNKNOWN) for word in rouge_words(text))
        for number in self._candidates(letters):
            known = self._known[number]
            least = self._part * (len(letters) + len(known)) // (2 * self._whole) + 1
            if LCSseq.similarity(letters, known, score_cutoff=least):
                return True
        return False

    def _learn(self, text: str) -> str:
        # One Unicode character for each word, because rapidfuzz compares strings fastest. There are a million of them.
        return "".join(self._letters.setdefault(word, chr(len(self._letters) + 1)) for word in rouge_words(text))

    def _build(self) -> None:
        """Sort words by their present frequencies. Repeated at every doubling of the index, so that rare words stay in
        front at a constant cost per text."""
        self._built = len(self._known)
        frequency = Counter(letter for letters in self._known for letter in letters)
        self._rank = {letter: rank for rank, (letter, _) in enumerate(reversed(frequency.most_common()))}
        self._postings: dict[str, array[int]] = {}
        for number in range(len(self._known)):
            self._post(number)

    def _post(self, number: int) -> None:
        letters = self._known[number]
        for letter, reach in self._front(letters):
            self._postings.setdefault(letter, array("i")).extend((number, len(letters), reach))

    def _reach(self, size: int, common: int) -> int:
        """The maximum length of a text that is near to one of `size` words if L is `common`."""
        return min((2 * self._whole * common - 1) // self._part - size, _ANY_SIZE)

    def _front(self, letters: str) -> Iterator[tuple[str, int]]:
        """The words that the filter needs, rare ones first, each with the maximum length of a near text."""
        size = len(letters)
        shortest = self._part * size // (2 * self._whole - self._part) + 1  # no shorter text can be near
        # Words added after the last build come first, sorted among themselves: the order is the same for all texts.
        in_order = sorted((self._rank.get(letter, -1), letter) for letter in letters)
        for position, (_, letter) in enumerate(in_order):
            reach = self._reach(size, 1 + size - position)
            if reach < shortest:
                return
            yield letter, reach

    def _candidates(self, letters: str) -> list[int]:
        """Numbers of the indexed texts that the upper bound does not exclude."""
        front = self._front(letters)
        found = [(self._postings[letter], reach) for letter, reach in front if letter in self._postings]
        if not found:
            return []
        rows = [np.frombuffer(postings, np.intc).reshape(-1, 3) for postings, _ in found]
        number, size, reach = np.concatenate(rows).T
        own_reach = np.repeat(np.array([own for _, own in found], np.intc), [len(row) for row in rows])
        meets = (size <= own_reach) & (reach >= len(letters))
        numbers, first, shared = np.unique(number[meets], return_index=True, return_counts=True)
        one_is_enough = size[meets][first] <= self._reach(len(letters), 1)
        return [int(n) for n in numbers[(shared >= 2) | one_is_enough]]


def rouge_words(text: str) -> list[str]:
    """The words of `text` that ROUGE-L compares, in lower case.

    If fewer than a quarter of them are of other scripts, they are those of `rouge-score`: sequences of a-z and 0-9,
    which other letters, such as é, divide. Otherwise the words of other scripts count too, and each character of a
    script that has no spaces between words. A text without any word has its characters instead, such as emoji. All
    Unicode forms of a text have the same words.
    """
    text = composed(composed(text).lower())
    if text.isascii():
        found = _LATIN_WORD.findall(text)
    else:
        found = _ANY_WORD.findall(text)
        latin = [word for word in found if word.isascii()]
        if 4 * (len(found) - len(latin)) < len(found):
            found = latin
    return found or list("".join(text.split()))
