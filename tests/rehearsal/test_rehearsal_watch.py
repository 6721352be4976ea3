"""What a rehearsal says of its steps and nodes, without a cluster."""

from io import StringIO

import pytest
import ray
from rich.console import Console

from selfreward_ray.cluster.rehearsal import watch as watching
from selfreward_ray.cluster.rehearsal.raylets import NODE_TYPE
from selfreward_ray.cluster.rehearsal.rehearse import Rehearsed
from selfreward_ray.cluster.rehearsal.report import print_rehearsed
from selfreward_ray.cluster.rehearsal.watch import Watch


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
        (0.5, "waiting for 2 × (1 CPU, H100): room for 0 of 2 now; starting 1 × training"),
        (0.7, "waiting for 2 × (1 CPU, H100): room for 1 of 2 now"),
        (1, "starting workers"),
        (2, "reference log-probs 1/3"),
        (3, "reference log-probs 2/3"),
    ):
        now[0] = 100.0 + seconds
        watch.hear("M2 · DPO", note)
    now[0] = 105.0
    assert watch.waited()
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


def step(label: str, **seen: object) -> dict[str, object]:
    return {"label": label, "seconds": 12.0, "started": [], "used": [], "ended": [], "waits": {}} | seen


def test_the_report_names_what_is_wrong():
    steps = [
        step("M1 · SFT", started=["training/1", "inference/2"], used=["training/1"], waits={"starting workers": 9.6}),
        step("M2 · pairs", seconds=None, ended=["training/1"]),
    ]
    found = Rehearsed(
        ["training.workers: 64 → 2"], ["[x]: made up"], ["training.workers = 64 asks"], steps, ["a/3"], 61
    )
    out = StringIO()
    print_rehearsed(found, Console(file=out, width=160))
    said = out.getvalue()
    for line in (
        "training.workers: 64 → 2", "[x]: made up", "starting workers: 10 s", "killed", "inference/2 (M1 · SFT)",
        "Nodes that were not let go", "The real run would be rejected", "ran in 1:01: with faults",
    ):  # fmt: skip
        assert line in said


def test_a_rehearsal_without_faults_says_so():
    found = Rehearsed([], [], [], [step("M1 · SFT", started=["a/1"], used=["a/1"])], [], 5)
    assert found.idle == []
    out = StringIO()
    print_rehearsed(found, Console(file=out, width=160))
    assert "nothing would be rejected, and every node was used and let go" in out.getvalue()
