"""What decides on the number of workers. `tests/end_to_end/test_lost_workers.py` loses and gets back real ones."""

from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_ray.cluster.places import Settled
from selfreward_ray.cluster.requests import worker_request
from selfreward_ray.recipe.training import Training
from selfreward_ray.training import elastic
from selfreward_ray.training.elastic import Growth, has_room


class Search:
    """A `Growth` of a group of workers of three, on a cluster that has `places` more."""

    def __init__(self, workers: int, monkeypatch: pytest.MonkeyPatch):
        self.places, self.told, self.now = 0, 0, 0.0
        self.asked: list[int] = []
        self.growth = Growth(worker_request(Training(workers=3, min_workers=1)), workers, self)
        self.growth._settled = Settled(3 - workers, 60, clock=lambda: self.now)
        self.make_room = SimpleNamespace(remote=self._tell)
        monkeypatch.setattr(elastic, "Places", self._ask)

    def _tell(self) -> None:
        self.told += 1
        assert self.asked == [], "places are given back before the group ends"

    def _ask(self, request: Any, count: int) -> Any:
        self.asked.append(count)
        return SimpleNamespace(placed=lambda: self.places, release=self.asked.clear)

    def look(self, begun: bool = True, places: int = 0) -> int:
        self.places = places
        self.growth.look(begun)
        return self.told


def test_until_a_group_trains_nothing_takes_its_own_places(monkeypatch: pytest.MonkeyPatch):
    search = Search(2, monkeypatch)
    search.look(begun=False, places=1)
    assert search.asked == []
    search.look()
    assert search.asked == [1]


def test_a_worker_that_has_a_place_again_is_told_once(monkeypatch: pytest.MonkeyPatch):
    search = Search(2, monkeypatch)
    assert [search.look(places=n) for n in (0, 0, 1, 1, 1)] == [0, 0, 1, 1, 1]


def test_one_of_two_waits_for_the_other_for_a_minute(monkeypatch: pytest.MonkeyPatch):
    search = Search(1, monkeypatch)
    search.look()
    told = []
    for search.now in (0.0, 59.0, 61.0):
        told.append(search.look(places=1))
    assert told == [0, 0, 1]


def test_no_places_for_a_long_time_are_no_reason_to_start_anew(monkeypatch: pytest.MonkeyPatch):
    search = Search(1, monkeypatch)
    for search.now in (0.0, 100.0, 200.0):
        assert search.look(places=0) == 0
    search.growth.release()
    assert search.asked == []


def test_a_whole_group_looks_for_nothing(monkeypatch: pytest.MonkeyPatch):
    search = Search(3, monkeypatch)
    assert search.look(places=3) == 0
    search.growth.release()
    assert search.asked == []


@pytest.mark.parametrize(("ranks", "said", "room"), [(2, True, True), (2, False, False), (3, True, False)])
def test_ranks_of_a_whole_group_do_not_ask(ranks: int, said: bool, room: bool, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    answer = SimpleNamespace(remote=lambda: asked.append("room?") or said)
    job: Any = SimpleNamespace(training=Training(workers=3), progress=SimpleNamespace(has_room=answer))
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: ranks)
    monkeypatch.setattr(elastic, "from_rank_0", lambda work: work())
    monkeypatch.setattr("ray.get", lambda reply: reply)
    assert has_room(job) == room
    assert len(asked) == (ranks < 3)
