"""Workers that do not fit on the nodes: refused if they never can, else waited for."""

import os
import signal
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray.data
from ray.cluster_utils import Cluster
from stub_training import train, within

from selfreward_ray.errors import UserError

pytestmark = [pytest.mark.engines, pytest.mark.cluster]


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[Cluster]:
    """Two nodes of eight GPUs beside the others, started as by somebody who has not set a log level."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
        added = [cluster.add_node(num_cpus=16, num_gpus=8, resources={"accelerator_type:H100": 1}) for _ in range(2)]
    yield cluster
    for node in added:
        cluster.remove_node(node)


def test_forty_workers_are_refused_where_sixteen_have_room(nodes: Cluster, tmp_path: Path):
    with within(60), pytest.raises(UserError) as refused:
        train(tmp_path, StringIO(), workers=40, gpus_per_worker=1, accelerator_type="H100")
    assert "training.workers = 40 asks for 40 × (1 CPU, 1 GPU, H100)" in str(refused.value)
    assert "never hold more than 16 of these at a time" in str(refused.value)
    assert "2 × node (16 CPU, 8 GPU, H100)" in str(refused.value)


def test_what_other_drivers_of_the_cluster_see_is_left_alone(nodes: Cluster):
    """Neither its processes' log level nor what Ray Data reports about datasets is this driver's to change."""
    there = ray.remote(num_cpus=0, resources={"accelerator_type:H100": 0.001})
    level = there(lambda: os.environ.get("RAY_BACKEND_LOG_LEVEL"))
    assert ray.get(level.remote()) is None
    context = ray.data.DataContext.get_current()
    assert context.issue_detectors_config.detectors == type(context)().issue_detectors_config.detectors != []
    assert not context.enable_progress_bars


def test_after_a_lost_node_workers_wait_for_another_and_not_for_ever(nodes: Cluster, tmp_path: Path):
    """The only node of its kind ends itself with the first group of workers, and once more with the third."""
    kind = {"accelerator_type:A100": 1.0}
    nodes.add_node(num_cpus=1, resources=kind)
    folder = str(tmp_path)

    def rank(config: dict[str, Any]) -> None:
        starts = len(list(Path(folder).glob("start-*")))
        (Path(folder) / f"start-{starts}").touch()
        if starts != 1:
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet
            time.sleep(60)

    class Printed(StringIO):
        """Adds a node when one is awaited: in the main thread, the only one where Ray adds nodes."""

        def write(self, text: str) -> int:
            if "waiting for" in text and (tmp_path / "start-0").exists() and not added:
                added.append(nodes.add_node(num_cpus=1, resources=kind))
            return super().write(text)

    added: list[Any] = []
    printed = Printed()
    asked: dict[str, Any] = {"workers": 1, "accelerator_type": "A100", "max_failures": 1}
    with within(240):
        train(tmp_path / "a", printed, rank, start_timeout_s=200, **asked)
    assert "waiting for 1 × (1 CPU, A100): 0 of 1 fit now" in printed.getvalue()
    assert len(list(tmp_path.glob("start-*"))) == 2
    with within(240), pytest.raises(UserError, match=r"not placed within 15 s \(training.start_timeout_s\)"):
        train(tmp_path / "b", StringIO(), rank, start_timeout_s=15, **asked)
    assert len(list(tmp_path.glob("start-*"))) == 3
