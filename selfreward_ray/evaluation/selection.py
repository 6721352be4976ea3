"""The choice of a checkpoint: each snapshot of a training is compared with the one before it, as in the paper.

A snapshot wins if its win rate, with ties as half wins, is above one half. The paper only says that checkpoints are
compared. The rule takes the point estimate and not the lower end of its interval: adjacent snapshots differ little, and
with 253 prompts the 95 % interval extends six points to either side, so that nearly every training would end at its
first snapshot. If no answers could be compared, the snapshot does not win.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """The comparison of a snapshot's answers, the left side, with those of the snapshot before it."""

    step: int
    """Optimizer steps that the snapshot has seen."""
    against: int
    outcomes: Mapping[str, Any]
    """The fields of `Outcomes`."""

    @property
    def wins(self) -> bool:
        rate = self.outcomes["left_win_rate"]
        return rate is not None and rate > 0.5

    def __str__(self) -> str:
        """``step 400 against step 200: 61.2 %``."""
        rate = self.outcomes["left_win_rate"]
        result = "nothing could be compared" if rate is None else f"{100 * rate:.1f} %"
        return f"step {self.step} against step {self.against}: {result}"


@dataclass(frozen=True)
class Selected:
    """The chosen snapshot, by its optimizer steps, and what it was chosen from."""

    step: int
    of: list[int]
    """The snapshots that were looked at, in order: up to the first that did not win."""
    compared: list[Compared]

    @property
    def decided(self) -> bool:
        """Whether a snapshot did not win, so that later ones are not looked at."""
        return bool(self.compared) and not self.compared[-1].wins

    @property
    def why(self) -> str:
        """The reason in words, with the win rates."""
        if not self.compared:
            return "it is the only snapshot"
        rates = "; ".join(map(str, self.compared))
        if self.decided:
            return f"step {self.of[-1]} did not win against it (win rates: {rates})"
        return f"it is the last snapshot, and each one won against the one before it (win rates: {rates})"


def select(snapshots: Sequence[int], compare: Callable[[int, int], Mapping[str, Any]]) -> Selected:
    """Walk through `snapshots`, the optimizer steps of at least one, in order. Stop at the first that does not win
    against the one before it.

    ``compare(step, against)`` gives the outcomes, with `step` as the left side. It is not called for later snapshots.
    """
    of, compared = [snapshots[0]], list[Compared]()
    for step in snapshots[1:]:
        compared.append(Compared(step, of[-1], compare(step, of[-1])))
        of.append(step)
        if not compared[-1].wins:
            return Selected(of[-2], of, compared)
    return Selected(of[-1], of, compared)
