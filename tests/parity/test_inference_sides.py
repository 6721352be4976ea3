"""Every side of the inference benchmark, ray.data.llm among them, with both kinds of lengths, in its minimal form.

Eight engines start: too many for `make test`, which starts plain vLLM and the pool once.
"""

import os
import re
from pathlib import Path

import pytest
from benchmark_runs import run_benchmark

pytestmark = [pytest.mark.engines, pytest.mark.parity]

SIDES = {"fixed": ["raw", "pool", "seeded pool", "ray.data.llm"], "natural": ["raw", "pool"]}


def test_every_side_generates_the_same_tokens(tiny_model: Path):
    """A side that generates other than the tokens asked for ends the benchmark with an error."""
    small = ("--prompts", 2, "--reply", 4, "--verdict", 6, "--cache-mb", 64, "--repeats", 1, "--settle", 0)
    core = ("--cores", min(os.sched_getaffinity(0)))
    done = run_benchmark("inference", "--model", tiny_model, *small, *core, longest=900)
    ratios = {name: ratio for name, ratio in done.figures.items() if name != "prefix_hit_rate"}
    assert set(ratios) == {
        "pool_over_raw",
        "pool_over_raw_natural_lengths",
        "ray_data_llm_over_pool",
        "seeded_over_pool",
    }
    assert all(0.001 < ratio < 1000 for ratio in ratios.values())
    measured = re.findall(r"^(fixed|natural) +1  (\S.*?) +(\d+) tokens", done.out, re.MULTILINE)
    assert [(mode, side) for mode, side, _ in measured] == [(mode, side) for mode in SIDES for side in SIDES[mode]]
    assert {tokens for mode, _, tokens in measured if mode == "fixed"} == {str(2 * 4 * (4 + 3 * 6))}
    assert len({tokens for mode, _, tokens in measured if mode == "natural"}) == 1
    assert "natural: 32 texts" in done.out
