"""What rank 0 reports while it trains; an actor, because ranks may be on other nodes than the driver."""

from typing import Any

import ray
from ray.exceptions import RayActorError


class ProgressActor:
    """Holds the latest state, and the metrics of steps that were not read yet. In a file of its own, so that its
    process loads nothing heavy. If it is lost, another one goes on with what it is told from then on."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"done": 0, "tokens": 0, "note": "", "begun": False}
        self._steps: list[dict[str, Any]] = []
        self._tokens_before: int | None = None
        self._decided = self._has_room = False

    def start(self) -> None:
        """A group of workers is started."""
        self._has_room = False
        self._state |= {"note": "starting workers", "begun": False}

    def begin(self, done: int, tokens: int) -> None:
        """Ranks go on after `done` steps and `tokens`: what an earlier driver did is no speed of this one."""
        self._update(done, tokens)

    def step(self, done: int, tokens: int, metrics: dict[str, Any]) -> None:
        """A step ended: steps and tokens done since the beginning of the run, and its row of the `History`."""
        self._update(done, tokens)
        self._steps.append(metrics)

    def _update(self, done: int, tokens: int) -> None:
        if self._tokens_before is None:
            self._tokens_before = tokens
        self._state |= {"done": done, "tokens": max(0, tokens - self._tokens_before), "begun": True}

    def note(self, text: str) -> None:
        self._state["note"] = text

    def decide(self) -> None:
        """The model is chosen among the snapshots: the ranks may stop."""
        self._decided = True

    def is_decided(self) -> bool:
        return self._decided

    def make_room(self) -> None:
        """The cluster has room for workers that this group lacks: its ranks end after a checkpoint."""
        self._has_room = True

    def has_room(self) -> bool:
        return self._has_room

    def read(self) -> dict[str, Any]:
        """Steps since the beginning of the run, tokens since that of this driver, the note, whether this group of
        workers has ``begun`` to train, and the metrics of the ``steps`` that ended since the previous call."""
        steps, self._steps = self._steps, []
        return self._state | {"steps": steps}


def answer(question: Any) -> bool:
    """What the actor answers to `question`, one of its methods; False where its process is lost.

    A training then goes on with the workers that it has, or to its last step: the model is the same.
    """
    try:
        return bool(ray.get(question.remote()))
    except RayActorError:
        return False
