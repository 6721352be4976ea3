"""The fetch benchmark in its minimal form: four files of 70 MB, two parts each."""

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.engines
def test_parts_are_few_requests_and_a_killed_fetch_goes_on():
    found = run_benchmark("fetch", "--megabytes", 280, "--repeats", 1, "--latency-ms", 0).figures
    assert found["sequential_gets"] >= 280 * 10**6 / 2**20
    assert found["parallel_gets"] == 4 * 2 + 3 + 1  # weights, other files, the list
    assert found["sequential_megabytes"] == found["parallel_megabytes"] == pytest.approx(280, abs=0.1)
    assert found["megabytes_at_the_kill"] >= 140
    assert 0 <= found["megabytes_again"] <= 280 - found["megabytes_at_the_kill"] + 0.1
