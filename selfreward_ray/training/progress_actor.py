"""The latest state that rank 0 reported; an actor, because ranks may be on other nodes than the driver."""

from typing import Any


class ProgressActor:
    """Holds the latest state only. In a file of its own, so that its process loads nothing heavy."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"done": 0, "tokens": 0, "note": "starting workers"}
        self._tokens_before: int | None = None

    def begin(self, done: int, tokens: int) -> None:
        """Ranks go on after `done` steps and `tokens`: what an earlier driver did is no speed of this one."""
        if self._tokens_before is None:
            self._tokens_before = tokens
        self.update(done, tokens)

    def update(self, done: int, tokens: int) -> None:
        """Say how many steps and tokens are done since the beginning of the run."""
        self._state |= {"done": done, "tokens": max(0, tokens - (self._tokens_before or 0))}

    def note(self, text: str) -> None:
        self._state["note"] = text

    def read(self) -> dict[str, Any]:
        """Steps since the beginning of the run, tokens since that of this driver, and the note."""
        return self._state
