"""What a training run has done so far: what its files show of it, and what it goes on from."""

import math
from dataclasses import dataclass, field
from typing import Any

from selfreward_ray.errors import Final
from selfreward_ray.evaluation.course import training_course


class Diverged(Final):
    """Too many steps in a row had no finite loss and gradient. Every rank raises it at the same step."""


@dataclass
class History:
    """One row of `steps` is one optimizer step: its number, loss and metrics (``tokens`` among them), learning rate,
    seconds, whether skipped.

    A step is skipped where its loss or its gradient is not finite: no weight changes, and the row has only such
    metrics as are finite.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0

    @property
    def done(self) -> int:
        return len(self.steps)

    @property
    def skipped_in_a_row(self) -> int:
        """Skipped steps since the last that was not."""
        return next((n for n, row in enumerate(reversed(self.steps)) if not row["skipped"]), self.done)

    def add(self, metrics: dict[str, float], *, rate: float, seconds: float, skipped: bool) -> None:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        row = {"step": self.done, **finite, "learning_rate": rate, "seconds": seconds, "skipped": skipped}
        self.steps.append(row)
        self.tokens += int(metrics["tokens"])

    def check(self, most: int, ids: list[str], label: str) -> None:
        """Raise `Diverged` where more than `most` steps in a row were skipped; `ids` are the last one's examples."""
        if self.skipped_in_a_row > most:
            raise Diverged(
                f"{label}: loss or gradient was not finite in {self.skipped_in_a_row} steps in a row, the last of them "
                f"step {self.done - 1} with the examples {', '.join(ids)}; look at these, lower learning_rate, or "
                f"raise training.max_skipped_steps"
            )

    def summary(self) -> dict[str, Any]:
        """Counts, the last step that was not skipped, and the `training_course`."""
        applied = [row for row in self.steps if not row["skipped"]]
        return {
            "steps": self.done,
            "tokens": self.tokens,
            "skipped_steps": self.done - len(applied),
            "last": (applied or self.steps)[-1],
            "course": training_course(self.steps),
        }
