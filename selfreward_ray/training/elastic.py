"""Workers that are lost and come back: a group of those that are there goes on from the newest checkpoint.

Ray Train can resize a group itself (`num_workers=(min, max)`), and it is not used: it ends the workers of a group that
it enlarges between two checkpoints, whose steps are then done again; it counts what nodes have and not what is free, as
seen up to 20 seconds ago, so that a node that was just lost still counts; and it waits without a limit. Here each group
has a fixed number of workers, and ends at a checkpoint of its own when there is room for more.
"""

from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from selfreward_ray.cluster.capacity import ResourceRequest
from selfreward_ray.cluster.places import Places, Settled
from selfreward_ray.training.agreement import from_rank_0
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.progress_actor import answer

_SETTLED_S = 60.0
"""Seconds that a place for a worker waits for further places: each time that workers are added, all start anew."""


@dataclass(frozen=True)
class Left:
    """How a group of workers ended that another one goes on from: after a checkpoint, and before the last step."""


class Growth:
    """The driver's search for the workers that a group of `workers` lacks. Tells `reported`, a `ProgressActor`."""

    def __init__(self, request: ResourceRequest, workers: int, reported: Any):
        self._request, self._missing, self._reported = request, request.count - workers, reported
        self._settled = Settled(self._missing, _SETTLED_S)
        self._places: Places | None = None

    def look(self, begun: bool) -> None:
        """Called again and again while the group works. Before it has `begun` to train, a place might be its own."""
        if not begun or not self._missing:
            return
        if self._places is None:
            self._places = Places(self._request, self._missing)
        elif (placed := self._places.placed()) and self._settled(placed):
            # Given back before the group ends: a validation that it waits for may need them.
            self.release()
            self._missing = 0
            self._reported.make_room.remote()

    def release(self) -> None:
        """Give back the places that were found."""
        if self._places is not None:
            self._places.release()


def has_room(job: TrainJob) -> bool:
    """Whether `Growth` has found places for workers that are missing; every rank calls it."""
    missing: bool = dist.get_world_size() < job.training.workers
    return missing and from_rank_0(lambda: answer(job.progress.has_room))
