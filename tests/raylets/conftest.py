"""A real cluster of three raylets on this machine, pools on it, and the table of what they lived through."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_in
from pools import TABLE, Ran, pool_of
from ray.cluster_utils import Cluster

from selfreward_ray.cluster.session import joined
from selfreward_ray.inference.block import OpenEngine


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TABLE:
        terminalreporter.write_line("\nfault                         found after   rows lost   rows twice")
    for fault, seconds, lost, twice in TABLE:
        found = "-" if seconds is None else f"{seconds:.1f} s"
        terminalreporter.write_line(f"{fault:<30}{found:>10}{lost:>12}{twice:>13}")


_SHARED: list[Cluster] = []
"""The cluster of this folder's tests, while one of them is the next."""


def _three_nodes() -> Cluster:
    """Of one CPU each; a lost node is noticed within seconds."""
    quick = {
        "health_check_initial_delay_ms": 500,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 3,
        "metrics_report_interval_ms": 1000,
    }
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick},
    )
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    return nodes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes, joined by this process. Modules share them, and leave them as they were."""
    if not _SHARED:
        _SHARED.append(_three_nodes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", _SHARED[0].address)
        with joined():
            yield _SHARED[0]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Other folders' tests are not to find the cluster, as processes do that Ray tells of the newest one."""
    if nextitem is None or nextitem.path.parent != Path(__file__).parent:
        while _SHARED:
            _SHARED.pop().shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Runs a pool over prompts of these `texts`; `meanwhile` is called with the rows finished so far."""

    def do(
        texts: list[str],
        meanwhile: Callable[[int], None] = lambda done: None,
        *,
        model: str = f"stand-in://{tmp_path}",
        job: dict[str, Any] | None = None,
        open_engine: OpenEngine = stand_in.StandIn,
        **inference: Any,
    ) -> Ran:
        with pool_of(tmp_path, texts, model, job or {}, inference, open_engine=open_engine) as (pool, work):
            done = 0
            for _, block in pool.run([work]):
                done += block.rows
                meanwhile(done)
            return Ran(tmp_path, len(texts), pool.summary())

    return do
