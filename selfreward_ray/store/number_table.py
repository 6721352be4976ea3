"""Numbers of many rows, found by names that are not in memory."""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

_BYTES = 16


class NumberTable:
    """A read-only mapping of names to numbers, in 32 bytes each. A name may have several.

    Of a name, a hash of 128 bits is kept: two of a billion names have the same one with a probability of 1e-21.
    """

    def __init__(self, rows: Iterable[tuple[str, float]]) -> None:
        keys = bytearray()
        self._numbers = array("d")
        for name, number in rows:
            keys += _key(name)
            self._numbers.append(number)
        self._keys = np.frombuffer(keys, f"S{_BYTES}")
        self._order = np.argsort(self._keys, kind="stable")

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, name: str) -> float:
        """The first number of `name`. Raises `KeyError` if it has none."""
        found = self.all(name)
        if not found:
            raise KeyError(name)
        return found[0]

    def all(self, name: str) -> list[float]:
        """The numbers of `name` in the order in which they were given."""
        key = np.array([_key(name)])
        first, last = (int(np.searchsorted(self._keys, key, side, self._order)[0]) for side in ("left", "right"))
        return [self._numbers[place] for place in self._order[first:last]]


def _key(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=_BYTES).digest()
