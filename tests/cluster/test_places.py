"""Places for units, from hand-made placement groups. `tests/end_to_end/test_lost_workers.py` has real ones."""

from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_ray.cluster import places
from selfreward_ray.cluster.capacity import ResourceRequest, resource_bundle
from selfreward_ray.cluster.places import Places, Settled

WORKERS = ResourceRequest("one training worker", "training.workers", 3, (resource_bundle(8, 1, "H100"),))


class Groups:
    """What Ray has of placement groups: each group is placed at its own second, if at all."""

    def __init__(self, *seconds: float | None):
        self._seconds, self.now = list(seconds), 0.0
        self.there: list[Any] = []

    def make(self, bundles: list[dict[str, float]]) -> Any:
        group = SimpleNamespace(bundles=bundles, at=self._seconds.pop(0))
        self.there.append(group)
        return group

    def table(self, group: Any) -> dict[str, Any]:
        assert group in self.there
        placed = group.at is not None and self.now >= group.at
        return {"state": "CREATED" if placed else "PENDING", "stats": {"scheduling_state": "NO_RESOURCES"}}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Any:
    def given(*seconds: float | None) -> Groups:
        made = Groups(*seconds)
        monkeypatch.setattr(places, "placement_group", made.make)
        monkeypatch.setattr(places, "placement_group_table", made.table)
        monkeypatch.setattr(places, "remove_placement_group", made.there.remove)
        monkeypatch.setattr(places, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep))
        return made

    return given


def test_each_unit_has_a_place_of_its_own(groups: Any):
    made = groups(0, None)
    found = Places(WORKERS, 2)
    assert [group.bundles for group in made.there] == [[dict(WORKERS.bundles[0])]] * 2
    assert (found.placed(), found.state()) == (1, "NO_RESOURCES")


def test_places_that_come_at_once_are_not_waited_for(groups: Any):
    made = groups(0.3, 0.5)
    found = Places(WORKERS, 2)
    assert (found.placed(within_s=1), found.state()) == (2, "")
    assert made.now == pytest.approx(0.5)


def test_a_place_that_does_not_come_is_waited_for_that_long(groups: Any):
    made = groups(0.3, 5)
    found = Places(WORKERS, 2)
    assert found.placed(within_s=1) == 1
    assert 1 <= made.now < 1.2


def test_what_is_given_back_is_no_place_any_more(groups: Any):
    made = groups(0, 0)
    found = Places(WORKERS, 2)
    found.release()
    assert (made.there, found.placed()) == ([], 0)
    found.release()


@pytest.mark.parametrize(
    ("placed", "taken"),
    [
        ([(0, 3)], True),
        ([(0, 2)], False),
        ([(0, 2), (9, 2)], False),
        ([(0, 2), (10, 2)], True),
        ([(0, 1), (9, 2), (12, 2)], False),  # one more has come: perhaps another one does
        ([(0, 1), (9, 2), (19, 2)], True),
        ([(0, 2), (9, 1), (12, 1)], False),
    ],
)
def test_fewer_places_than_asked_for_are_taken_when_no_more_come(placed: list[tuple[float, int]], taken: bool):
    clock = SimpleNamespace(now=0.0)
    settled = Settled(3, 10, clock=lambda: clock.now)
    for clock.now, count in placed:
        said = settled(count)
    assert said == taken
