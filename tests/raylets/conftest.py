"""A real cluster of three raylets on this machine, pools on it, and the table of what they lived through."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pools import TABLE, Ran, pool_of
from ray.cluster_utils import Cluster

from selfreward_ray.cluster.session import joined


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TABLE:
        terminalreporter.write_line("\nfault                         found after   rows lost   rows twice")
    for fault, seconds, lost, twice in TABLE:
        found = "-" if seconds is None else f"{seconds:.1f} s"
        terminalreporter.write_line(f"{fault:<30}{found:>10}{lost:>12}{twice:>13}")


@pytest.fixture(scope="session")
def three_nodes() -> Iterator[Cluster]:
    """Of one CPU each; a lost node is noticed within seconds. Modules share them, and leave them as they were."""
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
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def cluster(three_nodes: Cluster) -> Iterator[Cluster]:
    """Those nodes, joined by this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", three_nodes.address)
        with joined():
            yield three_nodes


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Runs a pool over prompts of these `texts`; `meanwhile` is called with the rows finished so far."""

    def do(
        texts: list[str],
        meanwhile: Callable[[int], None] = lambda done: None,
        *,
        model: str = f"stand-in://{tmp_path}",
        job: dict[str, Any] | None = None,
        **inference: Any,
    ) -> Ran:
        with pool_of(tmp_path, texts, model, job or {}, inference) as (pool, rows, finished):
            done = 0
            for block in pool.run(rows, finished):
                done += block.rows
                meanwhile(done)
            return Ran(tmp_path, len(texts), pool.summary())

    return do
