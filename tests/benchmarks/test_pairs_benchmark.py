"""The benchmark of the pair step in its minimal form."""

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.release
@pytest.mark.engines
def test_two_small_tables_are_paired_to_the_last_row():
    done = run_benchmark("pairs", "--rows", 400)
    figures = done.figures
    assert figures["rows"] == figures["kept"] + figures["dropped"] == 400
    # One prompt in ten thousand has no two scores that differ; four replies a prompt, one in fifty of which is empty.
    assert figures["kept"] > 380
    assert 0 < figures["flagged"] < 400
    assert figures["seconds"] > 0
    assert 50 < figures["driver_peak_mb"] < 2000
    assert 0.8 < figures["driver_growth"] <= 1.25
    assert "40 rows: 40 kept, 0 dropped" in done.out
