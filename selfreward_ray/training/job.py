"""What a training run is told; light enough for the driver, which never loads DeepSpeed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfreward_ray.cluster.capacity import ResourceRequest
from selfreward_ray.recipe.training import Optimization, Training
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.training.objectives import Objective


@dataclass(frozen=True)
class Validation:
    """Validation of snapshots beside the training, by Ray Train."""

    is_decided: Callable[[int], bool]
    """Judges the snapshots up to one, by its optimizer steps, in a Ray task. Returns whether the training can end."""
    request: ResourceRequest
    """What it needs of the cluster beside the workers."""
    decided: bool = False
    """Whether an earlier attempt was to end already."""


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
    snapshot_every: int = 0
    """Number of optimizer steps between snapshots, from which the model is chosen after the training. The last step
    gives one too. 0: the training writes the model of its last step itself."""
    validation: Validation | None = None
    """None: the snapshots are judged when the training has ended."""

    @property
    def folders(self) -> ModelLayout:
        return ModelLayout(self.out)
