"""The course of a training: figures of the log of its optimizer steps that tell a sound one from a broken one."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from selfreward_ray.store.folder import Folder

_FEW = 3
"""Minimum number of steps that an accuracy at the beginning is made of."""


def read_log(training: Folder) -> list[dict[str, Any]]:
    """The rows of the log in the folder of a `training`, as far as they are written."""
    rows = []
    for line in training.read_bytes("steps.jsonl").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # the last line of a log that is being written
    return rows


def training_course(steps: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Figures of `steps`, the rows of a training's log; None if there are too few, or none has the metric.

    ``loss_rise``: the mean loss of the last tenth of the steps less that of the first step, before which no weight has
    changed, in nats per token; DPO's is that of the chosen replies. ``chosen_logprob_fall``: the same from the first
    tenth on, of the chosen replies alone. ``final_margin``: mean reward margin in the last tenth. ``early_accuracy``:
    mean accuracy in the first tenth after the first step, of three steps at least.
    """
    tenth = max(1, len(steps) // 10)
    nll = "chosen_nll" if any("chosen_nll" in row for row in steps) else "loss"
    return {
        "loss_rise": _difference(_mean(nll, steps[:1]), _mean(nll, steps[1:][-tenth:])),
        "chosen_logprob_fall": _difference(
            _mean("chosen_nll", steps[:tenth]), _mean("chosen_nll", steps[tenth:][-tenth:])
        ),
        "final_margin": _mean("reward_margin", steps[1:][-tenth:]),
        "early_accuracy": _mean("accuracy", steps[1 : 1 + max(_FEW, tenth)], least=_FEW),
    }


def _mean(metric: str, steps: Sequence[Mapping[str, Any]], least: int = 1) -> float | None:
    """Mean over the steps that have the metric; None if they are fewer than `least`."""
    values = [row[metric] for row in steps if metric in row]
    return fmean(values) if len(values) >= least else None


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
