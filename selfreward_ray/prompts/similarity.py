"""Near-duplicates by ROUGE-L (Lin, 2004), found without comparing a text with every other."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from rapidfuzz.distance import LCSseq

_UNKNOWN = "\0"
_ANY_SIZE = 2**31 - 1


class RougeIndex:
    """Texts, and whether another text is near to one of them: ROUGE-L F1 above `threshold` (above 0, at most 1).

    The answer is that of comparing with each text. Words are lower-cased runs of a-z and 0-9, without stemming, as in
    the package `rouge-score`. F1 is 2L / (m + n) for texts of m and n words whose longest common subsequence has L,
    and is compared as a fraction, 0.7 being 7/10. A text without words is near to none.

    Most texts are excluded by an upper bound on L, the prefix and position filters of set-similarity joins
    (Chaudhuri et al., 2006; Xiao et al., 2008). L is at most the number of words that two texts share, in whatever
    order; what recurs counts as often as both have it. Sort the words of both in one way. Where the second shared
    one stands, r words of the one text and s of the other are left, itself included, so L <= 1 + min(r, s); where the
    first stands, L <= min(r, s). If F1 asks for L >= 2, a near pair therefore shares two words at which 1 + min(r, s)
    is enough. Only the front of each text has enough left behind it, and with rare words in front few texts meet
    there. Those are compared in full.
    """

    def __init__(self, texts: list[str], threshold: float) -> None:
        # By way of the shortest decimal that means this float: 0.7 itself is a little less than 7/10.
        self._part, self._whole = Fraction(str(threshold)).as_integer_ratio()
        self._letters: dict[str, str] = {}
        self._known = [self._learn(text) for text in texts]
        self._build()

    def add(self, text: str) -> None:
        """Makes `text` one that later ones are compared with."""
        self._known.append(self._learn(text))
        if len(self._known) > 2 * self._built:
            self._build()
        else:
            self._post(len(self._known) - 1)

    def is_near(self, text: str) -> bool:
        """Whether the ROUGE-L F1 of `text` with a known text is above the threshold."""
        letters = "".join(self._letters.get(word, _UNKNOWN) for word in _words(text))
        for number in self._candidates(letters):
            known = self._known[number]
            least = self._part * (len(letters) + len(known)) // (2 * self._whole) + 1
            if LCSseq.similarity(letters, known, score_cutoff=least):
                return True
        return False

    def _learn(self, text: str) -> str:
        # A letter a word: strings are what rapidfuzz compares fastest. Unicode has a million of them.
        return "".join(self._letters.setdefault(word, chr(len(self._letters) + 1)) for word in _words(text))

    def _build(self) -> None:
        """Sorts by today's frequencies; again at every doubling, so that rare stays rare at a constant cost a text."""
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
        """The most words of a text that L = `common` would make near to one of `size` words."""
        return min((2 * self._whole * common - 1) // self._part - size, _ANY_SIZE)

    def _front(self, letters: str) -> Iterator[tuple[str, int]]:
        """The words with enough left behind them, rare first, and how long the other text may be for that."""
        size = len(letters)
        shortest = self._part * size // (2 * self._whole - self._part) + 1  # a shorter text is too short for any L
        # Words that came after the build stand in front of all, sorted among themselves: still one way for all texts.
        in_order = sorted((self._rank.get(letter, -1), letter) for letter in letters)
        for position, (_, letter) in enumerate(in_order):
            reach = self._reach(size, 1 + size - position)
            if reach < shortest:
                return
            yield letter, reach

    def _candidates(self, letters: str) -> list[int]:
        """Numbers of the known texts that the bound does not exclude."""
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


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
