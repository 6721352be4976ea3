"""The trainer on real raylets, with a stub in place of a rank's training. No GPU is real."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from selfreward_ray.recipe.training import Sft, Training
from selfreward_ray.reporting import progress as reporting
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.training.job import TrainJob, Validation
from selfreward_ray.training.objectives import SftObjective
from selfreward_ray.training.trainer import fit


def train(
    folder: Path,
    printed: StringIO,
    rank: Callable[[Any], None] = lambda config: None,
    validation: Validation | None = None,
    **training: Any,
) -> None:
    """Run the trainer with `rank`, which workers get by value; its progress, five lines a second, goes to `printed`."""
    job = TrainJob(
        label="SFT",
        model="none",
        out=str(folder),
        objective=SftObjective(),
        optimization=Sft(batch_size=64),
        training=Training(**training),
        seed=0,
        fingerprint="",
        progress=None,
        validation=validation,
    )
    with (
        mock.patch.object(reporting, "SECONDS_BETWEEN_LINES", 0.2),
        Progress("SFT", 1, "steps", console=Console(file=printed, width=400)) as progress,
    ):
        fit(job, progress, rank)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails where its block takes longer, as one that waits for ever does."""

    def late(*_: Any) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
