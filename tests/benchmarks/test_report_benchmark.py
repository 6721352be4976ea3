"""The benchmark of the report page in its minimal form."""

import pytest
from benchmark_runs import run_benchmark


@pytest.mark.browser
def test_a_small_report_is_written_opened_and_searched():
    done = run_benchmark("report", "--rows", 400)
    figures = done.figures
    assert figures["rows"] == figures["embedded"] == 400
    assert 0 < figures["open_seconds"] <= 3
    assert 0 < figures["search_seconds"] < 60
    assert 0.1 < figures["page_mb"] < 5
    assert 50 < figures["write_peak_mb"] < 2000
