"""The benchmark of a step's tables in its minimal form."""

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.engines
def test_a_small_step_is_finished_read_and_resumed_by_few_requests():
    figures = run_benchmark("tables", "--rows", 160, "--rows-on-disk", 80).figures["now"]
    assert {name: found["rows"] for name, found in figures.items()} == {
        "resume_bucket": 160, "finish_bucket": 160, "read_bucket": 160, "resume_disk": 80,
    }  # fmt: skip
    blocks = 20
    assert blocks < figures["resume_bucket"]["requests"] < 2 * blocks + 20
    assert blocks < figures["finish_bucket"]["requests"] < 2 * blocks + 40
    assert figures["read_bucket"]["requests"] < 15
