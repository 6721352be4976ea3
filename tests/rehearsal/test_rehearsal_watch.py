"""The observations and the report of a rehearsal, without a cluster."""

import time
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util.state.exception import RayStateApiException
from rich.console import Console

from selfreward_ray.cluster.rehearsal import watch as watching
from selfreward_ray.cluster.rehearsal.raylets import NODE_TYPE
from selfreward_ray.cluster.rehearsal.rehearse import Rehearsed
from selfreward_ray.cluster.rehearsal.report import print_rehearsed
from selfreward_ray.cluster.rehearsal.watch import Watch, surplus


def node(number: int, kind: str = "gpu", alive: bool = True, head: bool = False) -> dict[str, object]:
    resources = {"node:__internal_head__": 1.0} if head else {}
    return {
        "NodeID": f"ffff{number:05d}",
        "Alive": alive,
        "Labels": {NODE_TYPE: kind},
        "Resources": resources,
    }


def test_nodes_belong_to_the_step_in_which_they_come_and_go(monkeypatch: pytest.MonkeyPatch):
    nodes = [node(0, head=True), node(1)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    watch = Watch()
    assert watch.nodes() == ["gpu/1"]  # there before the first step
    watch.hear("M1 · SFT", "")
    nodes.append(node(12, "spot"))
    watch.nodes()
    watch.hear("M1 · SFT", None)
    watch.hear("M2 · pairs", "")
    nodes[1] = node(1, alive=False)
    assert watch.nodes() == ["spot/12"]
    sft, pairs = watch.rows()
    assert (sft["started"], sft["ended"]) == (["spot/12"], [])
    assert (pairs["started"], pairs["ended"]) == ([], ["gpu/1"])


def test_waits_are_added_up_by_what_was_waited_for(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    watch = Watch()
    for seconds, note in (
        (0, ""),
        (0.5, "waiting for 2 × (1 CPU, H100): 0 of 2 fit now; starting 1 × training"),
        (0.7, "waiting for 2 × (1 CPU, H100): 1 of 2 fit now"),
        (1, "starting workers"),
        (2, "reference log-probs 1/3"),
        (3, "reference log-probs 2/3"),
    ):
        now[0] = 100.0 + seconds
        watch.hear("M2 · DPO", note)
    now[0] = 105.0
    watch.hear("M2 · DPO", "")
    now[0] = 110.0
    watch.hear("M2 · DPO", None)
    (step,) = watch.rows()
    assert step["seconds"] == 10.0
    assert step["waits"] == {
        "waiting for 2 × (1 CPU, H100)": 0.5,
        "starting workers": 1.0,
        "reference log-probs": 3.0,
    }


def test_a_step_of_no_time_is_not_one_that_was_killed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching.time, "monotonic", lambda: 100.0)
    watch = Watch()
    watch.hear("M1 · EFT", "")
    watch.hear("M1 · EFT", None)
    watch.hear("M1 · SFT", "")
    assert [step["seconds"] for step in watch.rows()] == [0.0, None]


@pytest.fixture
def idle_cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three nodes that nothing runs on; a test puts actors, tasks and placement groups there."""
    there: dict[str, Any] = {"actors": [], "tasks": [], "workers": [], "groups": {}}
    monkeypatch.setattr(ray, "nodes", lambda: [node(0, head=True), node(1), node(2)])
    monkeypatch.setattr(watching, "list_actors", lambda **_: there["actors"])
    monkeypatch.setattr(watching, "list_tasks", lambda **_: there["tasks"])
    monkeypatch.setattr(watching, "list_workers", lambda **_: there["workers"])
    monkeypatch.setattr(watching, "placement_group_table", lambda: there["groups"])
    return there


def test_a_node_on_which_an_actor_still_starts_is_used(idle_cluster: dict[str, Any]):
    """Of such an actor Ray knows the task that makes it, and that task's process."""
    watch = Watch()
    watch.nodes()
    watch.hear("M1 · verdicts", "")
    idle_cluster["workers"] = [
        SimpleNamespace(pid=71, node_id="ffff00002"),
        SimpleNamespace(pid=70, node_id="ffff00001"),
    ]
    idle_cluster["tasks"] = [
        SimpleNamespace(node_id=None, worker_pid=71, required_resources={"GPU": 8}),
        SimpleNamespace(node_id=None, worker_pid=70, required_resources={}),
        SimpleNamespace(node_id=None, worker_pid=None, required_resources={"GPU": 8}),
    ]
    watch._see_use()
    assert watch.rows()[0]["used"] == ["gpu/2"]


def test_a_node_that_holds_a_bundle_of_a_placement_group_is_used(idle_cluster: dict[str, Any]):
    """An engine in stages runs where its first bundle is; the others have no process of their own here."""
    watch = Watch()
    assert watch.nodes() == ["gpu/1", "gpu/2"]
    watch.hear("M2 · respond and judge", "")
    idle_cluster["actors"] = [SimpleNamespace(node_id="ffff00001", required_resources={"GPU": 1})]
    bundles = {0: "ffff00001", 1: "ffff00002"}
    idle_cluster["groups"] = {"a": {"state": "PENDING", "bundles_to_node_id": bundles}}
    watch._see_use()
    assert watch.rows()[0]["used"] == ["gpu/1"]
    idle_cluster["groups"]["a"]["state"] = "CREATED"
    watch._see_use()
    assert watch.rows()[0]["used"] == ["gpu/1", "gpu/2"]


def watched(watch: Watch, monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> None:
    monkeypatch.setattr(watching, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(watching, "_LOOKS_A_USE", 1)
    with watch.watching():
        watch.hear("M1 · SFT", "")
        end = time.monotonic() + 10
        while not until() and time.monotonic() < end:
            time.sleep(0.01)


@pytest.mark.parametrize("error", [RayStateApiException("no answer"), TimeoutError("30 s"), ValueError("half of it")])
def test_a_look_that_fails_is_left_out(idle_cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception):
    answers: list[Any] = [error, error]

    def actors(**_: Any) -> list[Any]:
        if answers:
            raise answers.pop()
        return [SimpleNamespace(node_id="ffff00001", required_resources={"CPU": 1})]

    monkeypatch.setattr(watching, "list_actors", actors)
    watch = Watch()
    watched(watch, monkeypatch, lambda: bool(watch.rows()[0]["used"]))
    assert watch.rows()[0]["used"] == ["gpu/1"]
    assert watch.unseen() == []


def test_a_state_api_that_does_not_come_back_is_said(idle_cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    looks: list[int] = []

    def actors(**_: Any) -> list[Any]:
        looks.append(1)
        raise RayStateApiException("no answer from the dashboard\nand a long trace")

    monkeypatch.setattr(watching, "list_actors", actors)
    watch = Watch()
    watched(watch, monkeypatch, lambda: len(looks) > 2)
    (line,) = watch.unseen()
    assert line.startswith("which nodes are used, for the last ")
    assert "RayStateApiException: no answer from the dashboard" in line


def test_each_type_keeps_its_least():
    nodes = ["gpu/1", "gpu/2", "a/b/3"]
    assert surplus(nodes, {}) == nodes
    assert surplus(nodes, {"gpu": 1, "a/b": 0}) == ["gpu/2", "a/b/3"]
    assert surplus(nodes, {"gpu": 5, "a/b": 1}) == []


def step(label: str, **seen: object) -> dict[str, object]:
    return {"label": label, "seconds": 12.0, "started": [], "used": [], "ended": [], "waits": {}} | seen


def test_the_report_names_what_is_wrong():
    steps = [
        step("M1 · SFT", started=["training/1", "inference/2"], used=["training/1"], waits={"starting workers": 9.6}),
        step("M2 · pairs", seconds=None, ended=["training/1"]),
    ]
    found = Rehearsed(
        ["training.workers: 64 → 2"], ["[x]: made up"], ["training.workers = 64 asks"], steps, ["a/3"], 61,
        kept=["kept/9"], unseen=["which nodes there are, for the last 7 s"], interrupted=False,
    )  # fmt: skip
    out = StringIO()
    print_rehearsed(found, Console(file=out, width=160))
    said = out.getvalue()
    for line in (
        "training.workers: 64 → 2", "[x]: made up", "starting workers: 10 s", "killed", "inference/2 (M1 · SFT)",
        "Nodes that were not let go", "kept/9", "What could not be seen", "for the last 7 s",
        "Resuming was not rehearsed: the run has no step M2 · pairs", "The real run would be rejected",
        "ran in 1:01: with faults",
    ):  # fmt: skip
        assert line in said


def test_a_rehearsal_without_faults_says_so():
    found = Rehearsed([], [], [], [step("M1 · SFT", started=["a/1"], used=["a/1"])], [], 5)
    assert found.idle == []
    out = StringIO()
    print_rehearsed(found, Console(file=out, width=160))
    assert "nothing would be rejected, and every node was used and let go" in out.getvalue()
    assert "Resuming" not in out.getvalue()
