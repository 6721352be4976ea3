"""Workers for whom there is no room: at once where there never can be, and for a limited time else. No GPU is real."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray.data
from autoscaling import autoscaling, node_type
from ray.cluster_utils import Cluster
from rich.console import Console

from selfreward_ray.cluster.room import Ask, check_room, cluster_types, request
from selfreward_ray.cluster.session import joined
from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Sft, Training
from selfreward_ray.reporting import progress as reporting
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.training import trainer
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective

pytestmark = pytest.mark.engines

H100 = {"CPU": 16, "GPU": 8, "accelerator_type": "H100"}


@contextmanager
def driver_of(address: str) -> Iterator[None]:
    """This process joined to the cluster at `address`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        with joined():
            yield


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails where its block takes longer, as one that waits for ever does."""

    def late(*_: Any) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def train(folder: Path, monkeypatch: pytest.MonkeyPatch, rank: Any = lambda config: None, **training: Any) -> str:
    """Run the trainer with `rank` in place of a rank's training; returns what the progress printed."""
    monkeypatch.setattr(trainer, "_rank", rank)
    monkeypatch.setattr(reporting, "SECONDS_BETWEEN_LINES", 0.2)
    job = TrainJob(
        label="SFT",
        model="none",
        out=str(folder),
        objective=SftObjective(),
        optimization=Sft(batch_size=64),
        training=Training(**training),
        seed=0,
        fingerprint="",
        progress=None,
    )
    printed = StringIO()
    try:
        with Progress("SFT", 1, "steps", console=Console(file=printed, width=400)) as progress:
            trainer.fit(job, progress)
    finally:
        print(printed.getvalue())  # what a failing test shows
    return printed.getvalue()


class TestFixedNodes:
    @pytest.fixture(scope="class")
    @classmethod
    def nodes(cls) -> Iterator[Cluster]:
        """Two nodes of eight GPUs beside a head; a lost one is noticed within seconds."""
        quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}
        nodes = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "_system_config": quick | {"health_check_failure_threshold": 3}},
        )
        for _ in range(2):
            nodes.add_node(num_cpus=16, num_gpus=8, resources={"accelerator_type:H100": 1})
        try:
            with driver_of(nodes.address):
                yield nodes
        finally:
            nodes.shutdown()

    def test_forty_workers_are_refused_where_sixteen_have_room(
        self, nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        asked = {"workers": 40, "gpus_per_worker": 1, "accelerator_type": "H100"}
        with within(60), pytest.raises(UserError) as refused:
            train(tmp_path, monkeypatch, **asked)
        assert "training.workers = 40 asks for 40 × (1 CPU, 1 GPU, H100)" in str(refused.value)
        assert "never hold more than 16 of these at a time" in str(refused.value)
        assert "2 × node (16 CPU, 8 GPU, H100)" in str(refused.value)

    def test_a_joined_cluster_and_its_other_users_keep_their_settings(self, nodes: Cluster):
        assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
        assert ray.data.DataContext.get_current().issue_detectors_config.detectors
        assert not ray.data.DataContext.get_current().enable_progress_bars

    def test_after_a_lost_node_workers_wait_for_another_and_not_for_ever(
        self, nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """The only node of its kind ends itself with the first group of workers, and once more with the next one."""
        kind = {"accelerator_type:A100": 1.0}
        nodes.add_node(num_cpus=1, resources=kind)
        folder = str(tmp_path)

        def rank(config: dict[str, Any]) -> None:
            starts = len(list(Path(folder).glob("start-*")))
            (Path(folder) / f"start-{starts}").touch()
            if starts != 1:
                os.kill(os.getppid(), signal.SIGKILL)  # the raylet
                time.sleep(60)

        def replace() -> None:
            while not (tmp_path / "start-0").exists():
                time.sleep(0.2)
            time.sleep(6)
            nodes.add_node(num_cpus=1, resources=kind)

        asked: dict[str, Any] = {"workers": 1, "accelerator_type": "A100", "max_failures": 1}
        replacement = threading.Thread(target=replace)
        replacement.start()
        with within(120):
            printed = train(tmp_path / "a", monkeypatch, rank, start_timeout_s=60, **asked)
        replacement.join()
        assert "waiting for 1 × (1 CPU, A100): room for 0 of 1 now" in printed
        assert len(list(tmp_path.glob("start-*"))) == 2
        with within(120), pytest.raises(UserError, match=r"no room within 5 s \(training.start_timeout_s\)"):
            train(tmp_path / "b", monkeypatch, rank, start_timeout_s=5, **asked)


class TestAutoscaler:
    @pytest.fixture(scope="class")
    @classmethod
    def address(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        types = {
            "training": node_type(4, **H100),
            "inference": node_type(8, CPU=16, GPU=8, accelerator_type="L40S"),
            "plain": node_type(1, CPU=2, accelerator_type="A10"),
            # So small a store is refused when the node starts.
            "sold-out": node_type(1, CPU=2, accelerator_type="T4", object_store_memory=1),
        }
        with autoscaling(tmp_path_factory.mktemp("v2"), types, max_workers=14) as address, driver_of(address):
            yield address

    def test_forty_workers_are_refused_where_thirty_two_can_be(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Of GPUs of another kind there would be enough."""
        asked = {"workers": 40, "gpus_per_worker": 1, "accelerator_type": "H100"}
        with within(60), pytest.raises(UserError) as refused:
            train(tmp_path, monkeypatch, **asked)
        assert "training.workers = 40 asks for 40 × (1 CPU, 1 GPU, H100)" in str(refused.value)
        assert "never hold more than 32 of these at a time" in str(refused.value)
        assert "4 × training (16 CPU, 8 GPU, H100)" in str(refused.value)

    def test_thirty_two_are_not_refused(self, address: str):
        check_room(Ask("one training worker", "training.workers", 32, (request(1, 1, "H100"),)))

    def test_a_node_that_comes_is_waited_for(self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        with within(120):
            printed = train(tmp_path, monkeypatch, workers=2, accelerator_type="A10", start_timeout_s=60)
        assert "waiting for 2 × (1 CPU, A10): room for 0 of 2 now; starting 1 × plain" in printed

    def test_a_node_that_does_not_come_is_waited_for_until_the_time_is_up(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        with within(120), pytest.raises(UserError) as ended:
            train(tmp_path, monkeypatch, workers=2, accelerator_type="T4", start_timeout_s=20)
        assert "training.workers = 2: no room within 20 s (training.start_timeout_s) for 2 × (1 CPU, T4)" in str(
            ended.value
        )
        assert "1 × sold-out failed to start: " in str(ended.value)
        assert "object store memory" in str(ended.value)


def test_the_older_autoscaler_has_the_same_file(tmp_path: Path):
    types = {"training": node_type(4, **H100)}
    with autoscaling(tmp_path, types, max_workers=8, v2=False) as address, driver_of(address):
        known = cluster_types()
    assert known is not None
    assert [(node.name, node.most) for node in known[0]] == [("ray.head.default", 1), ("training", 4)]
    assert known[1] == 8
