"""What rank 0 last said of a training run; an actor, because ranks may be on other nodes than the driver."""

from typing import Any


class Board:
    """Holds the latest state only. In a file of its own, so that its process loads nothing heavy."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"done": 0, "tokens": 0, "note": "starting workers"}

    def update(self, done: int, tokens: int) -> None:
        self._state |= {"done": done, "tokens": tokens}

    def note(self, text: str) -> None:
        self._state["note"] = text

    def read(self) -> dict[str, Any]:
        return self._state
