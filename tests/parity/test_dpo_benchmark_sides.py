"""The sides of the DPO benchmark that need TRL, in its minimal form; `make test-parity` installs TRL."""

import re
from pathlib import Path

import pytest
from benchmark_runs import run_benchmark

pytestmark = [pytest.mark.engines, pytest.mark.parity]

SIDES = ["ours", "trl-live", "trl-precomputed", "trl-tuned"]


def test_trls_sides_train_on_the_same_pairs(tiny_model: Path):
    """A first loss other than ln 2 ends the benchmark with an error."""
    small = ("--pairs", 8, "--products", 32, 32, 32)
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
    assert [side for side, _ in measured] == [*SIDES, "ours-profiled"]
    assert len({tokens for _, tokens in measured}) == 1
