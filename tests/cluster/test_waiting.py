"""Messages while waiting for resources, from hand-made statuses. `tests/raylets/test_waiting_for_nodes.py` waits on a
real cluster."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from selfreward_ray.cluster import waiting
from selfreward_ray.cluster.capacity import ResourceRequest, resource_bundle
from selfreward_ray.cluster.places import Settled
from selfreward_ray.errors import UserError

WORKERS = ResourceRequest("one training worker", "training.workers", 16, (resource_bundle(8, 1, "H100"),))


def status(pending: int = 0, launches: int = 0, failed: tuple[tuple[float | None, str], ...] = ()) -> Any:
    """Of a cluster with one node that holds eight workers, in whose place there is only one type more."""
    node = SimpleNamespace(
        ray_node_type_name="training",
        available_resources=lambda: {"CPU": 192, "GPU": 8, "accelerator_type:H100": 1},
    )
    return SimpleNamespace(
        active_nodes=[node],
        idle_nodes=[],
        pending_nodes=[node] * pending,
        pending_launches=[SimpleNamespace(ray_node_type_name="training", count=launches)] * bool(launches),
        failed_launches=[
            SimpleNamespace(ray_node_type_name="training", count=1, failed_ts_s=at, details=why) for at, why in failed
        ],
    )


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Wait with these statuses, one per second, until the request fits after the last one. Returns the notes."""

    def do(*statuses: Any, timeout_s: float = 60, logged: dict[str, str] | None = None) -> list[str]:
        left, notes, removed = list(statuses), [], []
        group = SimpleNamespace(wait=lambda timeout_seconds: not left)
        context = SimpleNamespace(gcs_address="here")
        monkeypatch.setattr(waiting.ray, "get_runtime_context", lambda: context)
        monkeypatch.setattr(waiting, "placement_group", lambda bundles, strategy: group)
        monkeypatch.setattr(waiting, "get_cluster_status", lambda address: left.pop(0))
        monkeypatch.setattr(waiting, "placement_group_table", lambda _: {"stats": {"scheduling_state": "INFEASIBLE"}})
        monkeypatch.setattr(waiting, "remove_placement_group", removed.append)
        monkeypatch.setattr(waiting, "on_head", lambda _: logged or {})
        try:
            waiting.wait_for_capacity(WORKERS, timeout_s, "training.start_timeout_s", notes.append)
        finally:
            assert removed == [group]
        return notes

    return do


@pytest.fixture
def wait_for_some(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Wait for 16 workers, 4 at least, whose places come one number a second. Returns how many are taken, and notes."""

    def do(*placed: int, timeout_s: float = 60, least: int = 4) -> tuple[int, list[str]]:
        left, clock = list(placed), SimpleNamespace(now=0.0)
        notes: list[str] = []

        def one_second_later(within_s: float) -> int:
            clock.now += within_s
            assert clock.now < 10 * timeout_s, "it waits for ever"
            return left.pop(0) if len(left) > 1 else left[0]

        places = SimpleNamespace(placed=one_second_later, state=lambda: "NO_RESOURCES", release=lambda: left.append(-1))
        monkeypatch.setattr(waiting, "Places", lambda request, count: places)
        monkeypatch.setattr(waiting, "Settled", partial(Settled, clock=lambda: clock.now))
        monkeypatch.setattr(waiting, "time", SimpleNamespace(time=lambda: 0, monotonic=lambda: clock.now))
        monkeypatch.setattr(waiting, "outlook", lambda request, since, placed: f"{placed} of {request.count} fit now")
        some = replace(WORKERS, field="training.min_workers", count=least)
        try:
            found = waiting.wait_for_some(WORKERS, some, timeout_s, "training.start_timeout_s", notes.append)
        finally:
            assert left[-1] == -1, "the places are given back"
        return found, notes

    return do


def test_all_are_taken_at_once_where_they_fit(wait_for_some: Any):
    assert wait_for_some(16) == (16, [])


def test_fewer_are_taken_where_no_more_come(wait_for_some: Any):
    found, notes = wait_for_some(9, 11, 11)
    assert found == 11
    assert notes[:2] == ["waiting for 9 of 16 fit now", "waiting for 11 of 16 fit now"]
    assert 10 <= len(notes) <= 12, "ten seconds after the last one came"


def test_fewer_than_the_least_are_waited_for_until_the_time_is_up(wait_for_some: Any):
    with pytest.raises(UserError) as ended:
        wait_for_some(3, timeout_s=20)
    assert str(ended.value) == (
        "training.min_workers = 4: not placed within 20 s (training.start_timeout_s). 3 of 16 fit now; Ray's placement "
        "group: NO_RESOURCES. Raise training.start_timeout_s where nodes take longer, or lower training.min_workers"
    )
    assert wait_for_some(*[3] * 15, 4, 4)[0] == 4


def test_where_all_are_needed_they_are_placed_together(wait: Any, monkeypatch: pytest.MonkeyPatch):
    """Two trainings of which each held a part of the cluster would wait for each other."""
    waited: list[Any] = []
    monkeypatch.setattr(waiting, "wait_for_capacity", lambda *given: waited.append(given))
    assert waiting.wait_for_some(WORKERS, WORKERS, 5, "a field", print) == 16
    assert waited == [(WORKERS, 5, "a field", print)]


def test_places_that_are_held_fit(monkeypatch: pytest.MonkeyPatch):
    context = SimpleNamespace(gcs_address="here")
    monkeypatch.setattr(waiting.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(waiting, "get_cluster_status", lambda address: status())
    assert waiting.outlook(WORKERS, 0, placed=5) == "16 × (8 CPU, 1 GPU, H100): 13 of 16 fit now"
    assert "16 of 16" in waiting.outlook(WORKERS, 0, placed=12)


def test_where_there_is_room_nothing_is_said(wait: Any):
    assert wait() == []


def test_what_is_waited_for_and_what_comes_is_said(wait: Any):
    said = "waiting for 16 × (8 CPU, 1 GPU, H100): 8 of 16 fit now"
    assert wait(status(), status(launches=1), status(pending=1, launches=2)) == [
        said,
        f"{said}; starting 1 × training",
        f"{said}; starting 3 × training",
    ]


def test_a_node_that_did_not_start_is_said_while_there_is_time(wait: Any, monkeypatch: pytest.MonkeyPatch):
    """But not one that another step waited for."""
    monkeypatch.setattr(waiting.time, "time", lambda: 100.9)
    (said,) = wait(status(launches=1, failed=((99.0, "a quota"),)))
    assert said.endswith("8 of 16 fit now; starting 1 × training")
    (said,) = wait(status(launches=1, failed=((100.0, "no capacity"),)))
    assert said.endswith("8 of 16 fit now; starting 1 × training; 1 × training failed to start: no capacity")


def test_when_the_time_is_up_the_clouds_newest_words_are_said(wait: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting.time, "time", lambda: 10.0)
    failed = ((20.0, "no capacity"), (None, "first of all"), (10.0, "quota"))
    with pytest.raises(UserError) as ended:
        wait(status(failed=failed), timeout_s=-1)
    assert str(ended.value) == (
        "training.workers = 16: not placed within -1 s (training.start_timeout_s). 16 × (8 CPU, 1 GPU, H100): 8 of "
        "16 fit now; 1 × training failed to start: no capacity; Ray's placement group: INFEASIBLE. Raise "
        "training.start_timeout_s where nodes take longer, or lower training.workers"
    )
    with pytest.raises(UserError, match="1 × training failed to start: of 8 instances none is to be had; Ray"):
        wait(status(failed=failed), timeout_s=-1, logged={"training": "of 8 instances none is to be had", "other": "-"})
    with pytest.raises(UserError, match="starting 1 × training"):
        wait(status(launches=1), timeout_s=-1)


def test_a_head_that_does_not_answer_in_time_ends_no_wait(wait: Any, monkeypatch: pytest.MonkeyPatch):
    def late(*_: Any) -> Any:
        raise GetTimeoutError("timed out")

    monkeypatch.setattr(waiting, "_fitting_now", late)
    assert wait(status()) == ["waiting for 16 × (8 CPU, 1 GPU, H100) (Ray does not say more: timed out)"]


@pytest.mark.parametrize(
    ("monitor", "said"), [(None, {}), ("logs", {"gpu-8": "no capacity"}), ("logs/that/are/elsewhere", {})]
)
def test_the_clouds_words_are_in_the_autoscalers_log(
    monitor: str | None, said: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "monitor.log").write_text(
        "INFO node_provider.py:492 -- Failed to launch 2 nodes of type gpu-8: no capacity"
    )
    options = {"logs-dir": str(tmp_path / monitor)} if monitor else None
    monkeypatch.setattr(waiting.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="here"))
    monkeypatch.setattr(waiting, "monitor_options", lambda address: options)
    assert waiting._logged_errors() == said
