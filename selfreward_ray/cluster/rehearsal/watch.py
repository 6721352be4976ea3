"""Observe the cluster during a run: the nodes that each step starts, uses and releases, and its waits."""

import dataclasses
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util import placement_group_table
from ray.util.state import list_actors, list_tasks, list_workers

from selfreward_ray.cluster.rehearsal.raylets import NODE_TYPE
from selfreward_ray.reporting import progress

_LOOK_EVERY = 0.5
_LOOKS_A_USE = 3
"""Every how many observations the use of nodes is observed too, which takes longer."""
_AT_MOST = 1000
HEAD = "head"
_NODES, _USE = "which nodes there are", "which nodes are used"


def surplus(nodes: list[str], least: Mapping[str, int]) -> list[str]:
    """The nodes, as named by `Watch`, beyond the minimum number of each type that the autoscaler keeps."""
    counts: Counter[str] = Counter()
    beyond = []
    for node in nodes:
        kind = node.rpartition("/")[0]
        counts[kind] += 1
        if counts[kind] > least.get(kind, 0):
            beyond.append(node)
    return beyond


@dataclass
class StepSeen:
    """Observations of one step. Nodes are called ``head`` and ``type/number``, with the autoscaler's numbers."""

    label: str
    seconds: float | None = None
    """Duration; None while the step runs, and if the run was killed in it."""
    started: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)
    """Seconds of waiting, by the step's note about what it waited for."""


class Watch:
    """Observes the cluster that this process joined, in a thread of its own."""

    def __init__(self) -> None:
        self.steps: list[StepSeen] = []
        self._began = time.monotonic()
        self._note: tuple[str, float] | None = None
        self._names: dict[str, str] = {}
        self._head = ""
        self._alive: set[str] = set()
        self._failing: dict[str, tuple[float, str]] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager that observes steps and nodes."""
        self._see_nodes()  # nodes from before the first step are not attributed to a step
        thread = threading.Thread(target=self._look_on, daemon=True)
        progress.listeners.append(self.hear)
        thread.start()
        try:
            yield
        finally:
            progress.listeners.remove(self.hear)
            self._stop.set()
            thread.join()
            for what, see in self._looks.items():
                if what in self._failing:
                    self._look(what, see)

    def hear(self, label: str, note: str | None) -> None:
        """Listener of `Progress`: a step begins, notes what it waits for, or ends (None)."""
        with self._lock:
            now = time.monotonic()
            self._close(now)
            if note is None:
                self.steps[-1].seconds = round(now - self._began, 1)
                return
            if not self.steps or self.steps[-1].label != label or self.steps[-1].seconds is not None:
                self._began = now
                self.steps.append(StepSeen(label))
            if note:
                self._note = (note, now)

    def rows(self) -> list[dict[str, object]]:
        """The observed steps as plain dicts."""
        with self._lock:
            return [dataclasses.asdict(step) for step in self.steps]

    def unseen(self) -> list[str]:
        """Observations that fail at present, since when, and why, as text."""
        now = time.monotonic()
        return [f"{what}, for the last {now - since:.0f} s: {error}" for what, (since, error) in self._failing.items()]

    def nodes(self) -> list[str]:
        """The worker nodes that are alive now."""
        self._see_nodes()
        with self._lock:
            return sorted(self._names[node] for node in self._alive)

    def _close(self, now: float) -> None:
        """End the current wait."""
        if self._note is not None:
            what, since = self._note
            # Without details and counts, which change: waiting for …: 0 of 2 fit now; log-probs 3/7.
            kind = re.split("[:;] ", what)[0].rstrip("0123456789/ %")
            waits = self.steps[-1].waits
            waits[kind] = round(waits.get(kind, 0.0) + now - since, 1)
            self._note = None

    def _look_on(self) -> None:
        looks = 0
        while not self._stop.wait(_LOOK_EVERY):
            for what, see in self._looks.items():
                if what == _NODES or looks % _LOOKS_A_USE == 0:
                    self._look(what, see)
            looks += 1

    @property
    def _looks(self) -> dict[str, Callable[[], None]]:
        return {_NODES: self._see_nodes, _USE: self._see_use}

    def _look(self, what: str, see: Callable[[], None]) -> None:
        """Observe once. Failures are recorded and tolerated: a busy cluster may answer the next time."""
        try:
            see()
        except Exception as error:  # any error: if the thread ended, all nodes would seem idle
            since, _ = self._failing.get(what, (time.monotonic(), ""))
            self._failing[what] = since, f"{type(error).__name__}: {str(error)[:200]}"
        else:
            self._failing.pop(what, None)

    def _see_nodes(self) -> None:
        alive = {}
        for node in ray.nodes():
            if "node:__internal_head__" in node["Resources"]:
                self._names[node["NodeID"]] = HEAD
                self._head = node["NodeID"]
            elif node["Alive"]:
                alive[node["NodeID"]] = node["Labels"].get(NODE_TYPE, "node")
        with self._lock:
            for node, kind in alive.items():
                if node not in self._names:
                    self._names[node] = f"{kind}/{node[-5:].lstrip('0')}"
                    self._note_of("started", node)
            for node in self._alive - alive.keys():
                self._note_of("ended", node)
            self._alive = set(alive)

    def _see_use(self) -> None:
        how: dict[str, Any] = {"limit": _AT_MOST, "detail": True, "raise_on_missing_output": False}
        actors = list_actors(filters=[("state", "=", "ALIVE")], **how)
        tasks = list_tasks(filters=[("state", "=", "RUNNING")], **how)
        # An actor that still starts is a task without a node. All nodes are on this machine: its process tells which.
        nodes = {worker.pid: worker.node_id for worker in list_workers(filters=[("is_alive", "=", True)], **how)}
        # Actors and tasks without resources, such as an actor that keeps counts, do not use a node.
        used = [actor.node_id for actor in actors if actor.required_resources]
        used += [task.node_id or nodes.get(task.worker_pid) for task in tasks if task.required_resources]
        # An engine with pipeline stages is one process here, because GPUs are only declared; its placement group shows
        # all of its nodes.
        groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
        used += [node for group in groups for node in group["bundles_to_node_id"].values()]
        with self._lock:
            for node in used:
                if node in (self._head, *self._alive):
                    self._note_of("used", node)

    def _note_of(self, what: str, node: str) -> None:
        if self.steps:
            seen: list[str] = getattr(self.steps[-1], what)
            if self._names[node] not in seen:
                seen.append(self._names[node])
