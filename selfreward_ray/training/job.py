"""What a training run is told; light enough for the driver, which never loads DeepSpeed."""

from dataclasses import dataclass
from typing import Any

from selfreward_ray.recipe.training import Optimization, Training
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.training.objectives import Objective


@dataclass(frozen=True)
class TrainJob:
    """Everything a rank needs to know; `model` and `out` are URIs. The encoded examples are in `folders.training`."""

    label: str
    model: str
    out: str
    objective: Objective
    optimization: Optimization
    training: Training
    seed: int
    fingerprint: str
    """What the run is made from: a checkpoint of another one is refused."""
    progress: Any
    """Actor handle of a `ProgressActor`, told by rank 0."""

    @property
    def folders(self) -> ModelLayout:
        return ModelLayout(self.out)
