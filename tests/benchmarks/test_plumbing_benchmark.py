"""The benchmark of the pool's overhead in its minimal form."""

import math

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.release
@pytest.mark.engines
def test_two_small_tables_go_through_one_replica():
    """The benchmark exits with an error unless every prompt is written."""
    done = run_benchmark("plumbing", "--rows", 32, 128, "--replicas", 1)
    assert set(done.figures) == {"judged_prompts_per_minute_per_core", "growth_exponent"}
    assert done.figures["judged_prompts_per_minute_per_core"] > 0
    assert math.isfinite(done.figures["growth_exponent"])
    table = [list(map(float, line.split())) for line in done.out.splitlines()[-3:-1]]
    assert [row[:2] for row in table] == [[32, 1], [128, 1]]
    for _, _, rate, cost, memory in table:
        assert 0 < rate < 1e6
        assert 0 < cost < 1e6
        assert 50 < memory < 2000


def test_growth_needs_two_sizes():
    done = run_benchmark("plumbing", "--rows", 32)
    assert done.status == 2
    assert "--rows needs two sizes" in done.errors
