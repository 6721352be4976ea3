"""A spot notice reaches Ray, with a fake of EC2's metadata service and a real cluster of two nodes."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import ray
import ray.train
from ray.cluster_utils import Cluster
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from selfreward_ray.cluster.nodes import dead_nodes, lost_nodes
from selfreward_ray.cluster.spot import drain_node, reclaimed_at, watch

A_TOKEN = "of-one-look"  # noqa: S105


class Metadata:
    """What EC2 would answer: `notice`, once it is set, to who has a token."""

    def __init__(self) -> None:
        self.notice: Any = None
        self.looks = 0
        self.refused: list[str] = []

    def serve(self, request: BaseHTTPRequestHandler) -> tuple[int, str]:
        if request.command == "PUT" and request.path == "/latest/api/token":
            named = request.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return (200, A_TOKEN) if named and 1 <= int(named) <= 21_600 else (400, "")
        if request.headers["X-aws-ec2-metadata-token"] != A_TOKEN:
            self.refused.append(request.path)
            return 401, ""
        if request.path != "/latest/meta-data/spot/instance-action":
            return 404, ""
        self.looks += 1
        return (404, "") if self.notice is None else (200, json.dumps(self.notice))


@contextmanager
def served(metadata: Metadata) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = metadata.serve(self)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def notice(seconds: float) -> dict[str, str]:
    """EC2's, for an instance that goes in so many seconds."""
    return {"action": "terminate", "time": f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"}


def test_there_is_no_notice_until_ec2_gives_one():
    metadata = Metadata()
    with served(metadata) as url:
        assert reclaimed_at(url) is None
        metadata.notice = {"action": "terminate", "time": "2030-09-18T08:22:00Z"}
        assert reclaimed_at(url) == datetime(2030, 9, 18, 8, 22, tzinfo=UTC)
    assert metadata.refused == []  # every look had a token of IMDSv2


def test_a_notice_drains_once_with_the_seconds_that_are_left(capsys: pytest.CaptureFixture[str]):
    metadata, drained = Metadata(), []
    with served(metadata) as url:

        def look_then_give_notice() -> None:
            while metadata.looks < 2:
                time.sleep(0.01)
            metadata.notice = notice(100)

        threading.Thread(target=look_then_give_notice).start()
        watch(drained.append, url, every=0.02)
    (left,) = drained
    assert 95 <= left <= 100
    assert "EC2 takes this instance back at" in capsys.readouterr().out


def test_a_deadline_that_has_passed_is_zero_seconds():
    metadata, drained = Metadata(), []
    metadata.notice = notice(-30)
    with served(metadata) as url:
        watch(drained.append, url, every=0.02)
    assert drained == [0]


def test_a_drain_that_ray_refuses_is_tried_again_and_said_once(capsys: pytest.CaptureFixture[str]):
    metadata = Metadata()
    metadata.notice = notice(-1)
    answers = iter(["no cluster here", "no cluster here", None])
    with served(metadata) as url:
        watch(lambda _: next(answers), url, every=0.02)
    assert capsys.readouterr().out.count("no cluster here") == 1


def test_a_metadata_service_that_does_not_answer_does_not_end_the_watch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    metadata = Metadata()
    metadata.notice = notice(60)
    with served(metadata) as url:
        looks = iter([ConnectionResetError("gone"), ConnectionResetError("gone"), ValueError("half an answer")])

        def fails_three_times(where: str) -> datetime | None:
            if (error := next(looks, None)) is not None:
                raise error
            return reclaimed_at(where)

        monkeypatch.setattr("selfreward_ray.cluster.spot.reclaimed_at", fails_three_times)
        drained: list[int] = []
        watch(drained.append, url, every=0.02)
    said = capsys.readouterr().out
    assert len(drained) == 1
    assert (said.count("gone"), said.count("half an answer")) == (1, 1)


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [(0, "logged", None), (1, "logged\nError: no cluster\n", "Error: no cluster"), (3, "", "exit status 3")],
)
def test_what_ray_says_of_a_drain(code: int, errors: str, said: str | None, monkeypatch: pytest.MonkeyPatch):
    commands: list[list[str]] = []

    def done(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, code, "", errors)

    monkeypatch.setattr(subprocess, "run", done)
    assert drain_node(90, "abc") == drain_node(90) == said
    assert commands[0] == [*commands[1], "--node-id", "abc"]


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("ray", 30), OSError(12, "Cannot allocate memory")])
def test_a_command_of_ray_that_hangs_or_does_not_start_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch):
    limits: list[Any] = []

    def fails(command: list[str], timeout: float | None = None, **_: Any) -> None:
        limits.append(timeout)
        raise error

    monkeypatch.setattr(subprocess, "run", fails)
    assert drain_node(90) == str(error)
    assert limits == [30]


@pytest.mark.parametrize("strange", [{"action": "stop"}, {"time": None}, ["terminate"], "soon", {"time": "at noon"}])
def test_a_strange_notice_does_not_end_the_watch(strange: Any, capsys: pytest.CaptureFixture[str]):
    metadata, drained = Metadata(), []
    metadata.notice = strange

    def give_a_notice_that_can_be_read() -> None:
        while metadata.looks < 3:
            time.sleep(0.01)
        metadata.notice = notice(100)

    with served(metadata) as url:
        threading.Thread(target=give_a_notice_that_can_be_read).start()
        watch(drained.append, url, every=0.02)
    assert len(drained) == 1
    assert capsys.readouterr().out.count("cannot ask") == 1


def test_a_time_without_a_zone_is_utc():
    metadata = Metadata()
    metadata.notice = {"action": "terminate", "time": "2030-09-18T08:22:00"}
    with served(metadata) as url:
        assert reclaimed_at(url) == datetime(2030, 9, 18, 8, 22, tzinfo=UTC)


def test_a_metadata_service_that_is_busy_is_an_error():
    class Busy(Metadata):
        def serve(self, request: BaseHTTPRequestHandler) -> tuple[int, str]:
            return super().serve(request) if request.command == "PUT" else (503, "")

    with served(Busy()) as url, pytest.raises(HTTPError, match="503"):
        reclaimed_at(url)


@pytest.fixture
def spot_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The second node of a cluster that this process has joined; the resource `spot` is there alone."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1, resources={"spot": 1})
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        ray.init(logging_level="ERROR", log_to_driver=False)
        yield node
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.engines
@pytest.mark.cluster
def test_ray_train_hears_of_a_notice_and_the_node_goes_as_preempted(spot_node: Any, tmp_path: Path):
    metadata = Metadata()
    started = tmp_path / "started"

    def wait_for_news() -> dict[str, Any]:
        """A worker that does nothing but ask, as `training.checkpoints.Schedule` does after each step."""
        started.touch()
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if (info := ray.train.get_preemption_info()) is not None:
                return {"nodes": info.preempted_node_ids, "deadline_ms": info.deadline_ms}
            time.sleep(0.1)
        return {}

    def give_notice() -> None:
        while not started.exists():
            time.sleep(0.1)
        metadata.notice = notice(120)

    with served(metadata) as url:
        threading.Thread(target=give_notice, daemon=True).start()
        drain = partial(drain_node, node_id=spot_node.node_id)
        watcher = threading.Thread(target=watch, args=(drain, url, 0.2), daemon=True)
        watcher.start()
        result = TorchTrainer(
            wait_for_news,
            scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1, "spot": 1}),
            run_config=ray.train.RunConfig(storage_path=str(tmp_path / "runs")),
        ).fit()
        watcher.join(timeout=30)
    assert list(result.return_value["nodes"]) == [spot_node.node_id]
    assert result.return_value["deadline_ms"] == pytest.approx((time.time() + 120) * 1000, abs=60_000)
    # Its work done, a draining node leaves by itself, and Ray knows why.
    give_up = time.monotonic() + 60
    while (gone := next(n for n in ray.nodes() if n["NodeID"] == spot_node.node_id))["Alive"]:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    assert gone["DeathReasonMessage"] == "EC2 takes this spot instance back"
    assert dead_nodes() == {spot_node.node_id}


@pytest.mark.engines
@pytest.mark.cluster
def test_without_an_id_the_node_is_the_one_that_it_runs_on(spot_node: Any):
    """Of several raylets on one machine, which only tests have, Ray takes the head for the current node."""

    @ray.remote(num_cpus=1)
    class Busy:  # an idle node would be gone at once
        def where(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    head = ray.get_runtime_context().get_node_id()
    busy = Busy.options(scheduling_strategy=NodeAffinitySchedulingStrategy(head, soft=False)).remote()
    assert ray.get(busy.where.remote()) == head
    assert drain_node(600) is None
    assert list(ray._private.state.state.get_draining_nodes()) == [head]
    assert (lost_nodes(), dead_nodes()) == ({head}, frozenset())
    assert drain_node(-1) == "Error: Invalid value: --deadline-remaining-seconds cannot be negative, got -1"
