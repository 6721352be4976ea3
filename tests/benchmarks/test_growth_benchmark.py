"""The benchmark of growth in its minimal form."""

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.release
@pytest.mark.engines
def test_each_part_is_measured_with_two_numbers_of_rows():
    done = run_benchmark("growth", "--rows", 300, 3000)
    assert set(done.figures) == {"rank", "encode", "propose", "report"}
    for part, figures in done.figures.items():
        assert list(figures["peak_mb"]) == ["300", "3000"], part
        assert figures["bytes_a_row"] < 20_000, part
        assert figures["exponent"] < 2, part
