from pathlib import Path

import pytest
from benchmark_runs import ROOT, run_benchmark

pytestmark = [pytest.mark.engines, pytest.mark.cluster, pytest.mark.release]


def test_both_sides_take_the_same_steps(tiny_model: Path):
    """Against itself."""
    done = run_benchmark("sft", ROOT, "--turns", 1, "--sets", 8, "--model", tiny_model)
    assert set(done.figures) == {"before", "now", "step_seconds_over_before"}
    before, now = (line.partition(": ")[2] for line in done.out.splitlines()[:2])
    losses = [line.partition('"losses": ')[2] for line in (before, now)]
    assert losses[0] == losses[1] != ""
    assert done.figures["now"]["outside_steps"] > 0
