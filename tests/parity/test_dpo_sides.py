"""The whole turn of the DPO benchmark in its minimal form; `make test-parity` installs TRL, which it needs."""

import re
from pathlib import Path

import pytest
from benchmark_runs import run_benchmark

pytestmark = [pytest.mark.engines, pytest.mark.parity]

SIDES = ["ours", "trl-live", "trl-precomputed", "trl-tuned", "ours-profiled"]


def test_every_side_trains_on_the_same_pairs(tiny_model: Path):
    """A first loss other than ln 2 ends the benchmark with an error."""
    small = ("--pairs", 64, "--products", 32, 32, 32)
    done = run_benchmark("dpo", "--model", tiny_model, "--turn", *SIDES, *small)
    ratios = {name: ratio for name, ratio in done.figures.items() if "_over_" in name}
    assert set(ratios) == {
        "pairs_per_s_over_trl_live",
        "pairs_per_s_over_trl_precomputed",
        "pairs_per_s_over_trl_tuned",
        "peak_memory_over_trl",
        "peak_memory_over_trl_tuned",
    }
    assert all(0.01 < ratio < 100 for ratio in ratios.values())
    measured = re.findall(r"^(\S+) .* ([\d,]+) tokens, losses", done.out, re.MULTILINE)
    assert [side for side, _ in measured] == SIDES
    assert len({tokens for _, tokens in measured}) == 1
    ranks = re.findall(r"^rank (\d), seconds: (.*)$", done.out, re.MULTILINE)
    assert [rank for rank, _ in ranks] == ["0", "1"]
    for _, phases in ranks:
        assert {"forward", "backward", "reference", "optimizer", "reduce", "other"} <= set(phases.split()[::2])
