"""Places for single units of a request: how many of them a cluster has room for."""

import time
from collections.abc import Callable

from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from selfreward_ray.cluster.capacity import ResourceRequest

_LOOK_EVERY_S = 0.1


class Places:
    """A placement group for each of `count` units of `request`. They make an autoscaler start nodes, and keep the
    places that they have got until `release`."""

    def __init__(self, request: ResourceRequest, count: int):
        self._groups = [placement_group([dict(bundle) for bundle in request.bundles]) for _ in range(count)]

    def placed(self, within_s: float = 0) -> int:
        """The number of units that have a place: as soon as all have, or after `within_s` seconds."""
        end = time.monotonic() + within_s
        while (count := len(self._groups) - len(self._waiting())) < len(self._groups) and time.monotonic() < end:
            time.sleep(_LOOK_EVERY_S)
        return count

    def state(self) -> str:
        """Ray's account of a unit that has no place, such as ``INFEASIBLE``; empty if all have one."""
        states: list[str] = [placement_group_table(group)["stats"]["scheduling_state"] for group in self._waiting()]
        return states[0] if states else ""

    def release(self) -> None:
        """Give all places back."""
        for group in self._groups:
            remove_placement_group(group)
        self._groups = []

    def _waiting(self) -> list[PlacementGroup]:
        return [group for group in self._groups if placement_group_table(group)["state"] != "CREATED"]


class Settled:
    """Whether a number of places is to be taken as it is: if all `most` are there, or after `after_s` seconds without a
    change."""

    def __init__(self, most: int, after_s: float, clock: Callable[[], float] = time.monotonic):
        self._most, self._after_s, self._clock = most, after_s, clock
        self._placed, self._since = -1, 0.0

    def __call__(self, placed: int) -> bool:
        """Told the number again and again."""
        now = self._clock()
        if placed != self._placed:
            self._placed, self._since = placed, now
        return placed == self._most or now - self._since >= self._after_s
