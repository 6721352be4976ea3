"""Workers for whom given nodes have no room: refused where there never can be any, else waited for."""

import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import ray.data
from ray.cluster_utils import Cluster
from stub_training import train, within

from selfreward_ray.cluster.session import joined
from selfreward_ray.errors import UserError

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Two nodes of eight GPUs beside a head, joined by this process; a lost one is noticed within seconds."""
    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}
    quick["health_check_failure_threshold"] = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": quick})
        for _ in range(2):
            nodes.add_node(num_cpus=16, num_gpus=8, resources={"accelerator_type:H100": 1})
        patch.setenv("RAY_ADDRESS", nodes.address)
        try:
            with joined():
                yield nodes
        finally:
            nodes.shutdown()


def test_forty_workers_are_refused_where_sixteen_have_room(nodes: Cluster, tmp_path: Path):
    with within(60), pytest.raises(UserError) as refused:
        train(tmp_path, StringIO(), workers=40, gpus_per_worker=1, accelerator_type="H100")
    assert "training.workers = 40 asks for 40 × (1 CPU, 1 GPU, H100)" in str(refused.value)
    assert "never hold more than 16 of these at a time" in str(refused.value)
    assert "2 × node (16 CPU, 8 GPU, H100)" in str(refused.value)


def test_what_other_drivers_of_the_cluster_see_is_left_alone(nodes: Cluster):
    """Neither its processes' log level nor what Ray Data reports about datasets is this driver's to change."""
    level = ray.remote(num_cpus=0)(lambda: os.environ.get("RAY_BACKEND_LOG_LEVEL"))
    assert ray.get(level.remote()) is None
    context = ray.data.DataContext.get_current()
    assert context.issue_detectors_config.detectors == type(context)().issue_detectors_config.detectors != []
    assert not context.enable_progress_bars
