"""The `Tracker` protocol, which other packages can implement (see `selfreward_ray.extensions`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of the run when it is opened."""

    uri: str
    """The run's folder: a local path or the URI of an object store."""
    id: str
    """Identifies the run, also when it is continued later or on another machine. Letters and digits."""
    name: str
    """`name` of the recipe."""
    project: str
    """`tracking.project` of the recipe."""
    recipe: dict[str, Any]
    """The recipe as plain values."""


class Tracker(Protocol):
    """Receives the metrics of a run. All calls but the first, which opens it, come from one thread of its own.

    `time` is in seconds since 1970. An exception ends the tracker and not the run.
    """

    def metrics(self, series: str, values: Mapping[str, float], step: int, time: float) -> None:
        """Values of `series` at `step`.

        A live series is a step of one model, ``M2/dpo``, and its `step` is the number of optimizer steps or rows that
        are done. A series of the run is a step of all models, ``evaluate``, with the number of the model as `step`: 2
        for M2. After an interruption some steps come again, with the same values or newer ones.
        """
        ...

    def text(self, name: str, text: str, step: int, time: float) -> None:
        """A text, for example the recipe."""
        ...

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], step: int, time: float
    ) -> None:
        """A small table, for example answers of a model. Its texts may be a model's, which nobody has checked."""
        ...

    def figure(self, name: str, png: bytes, step: int, time: float) -> None:
        """A picture, for example a histogram of scores."""
        ...

    def flush(self) -> None:
        """Make what has been received visible to readers. Called every few seconds."""
        ...

    def close(self) -> None:
        """The run has ended, or is interrupted."""
        ...


OpenTracker = Callable[[TrackedRun], Tracker]
"""What a package offers as a tracker. Raises `UserError` for settings with which it cannot work."""
