"""The benchmark of the pool against plain vLLM and ray.data.llm in its minimal form: a tiny model, few short texts.

A side that generates other than the tokens asked for ends the benchmark with an error.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

sys.path.insert(0, str(BENCHMARKS))

import inference

PROMPTS, REPLY, VERDICT = 2, 4, 6
TOKENS = PROMPTS * 4 * (REPLY + 3 * VERDICT)


@pytest.mark.engines
def test_every_side_generates_the_same_tokens(tiny_model: Path):
    lengths = ("--prompts", PROMPTS, "--reply", REPLY, "--verdict", VERDICT)
    core = min(os.sched_getaffinity(0))
    once = ("--repeats", 1, "--settle", 0, "--cores", core)
    done = run_benchmark("inference", "--model", tiny_model, *lengths, *once)
    ratios = {name: ratio for name, ratio in done.figures.items() if name != "prefix_hit_rate"}
    assert set(ratios) == {
        "pool_over_raw",
        "pool_over_raw_natural_lengths",
        "ray_data_llm_over_pool",
        "seeded_over_pool",
    }
    assert all(0.001 < ratio < 1000 for ratio in ratios.values())
    # Verdicts of one reply share their prompt.
    assert 0.2 < done.figures["prefix_hit_rate"] < 1
    measured = re.findall(r"^(fixed|natural) +1  (\S.*?) +([\d,]+) tokens", done.out, re.MULTILINE)
    assert [(mode, side) for mode, side, _ in measured] == [
        *(("fixed", side) for side in ("raw", "pool", "seeded pool", "ray.data.llm")),
        *(("natural", side) for side in ("raw", "pool")),
    ]
    assert {tokens for mode, _, tokens in measured if mode == "fixed"} == {str(TOKENS)}
    assert "natural: 32 texts" in done.out


def test_growth_asks_the_pool_for_more_and_more_prompts(monkeypatch: pytest.MonkeyPatch):
    asked: dict[int, int] = {}

    def measure(bench: inference.Bench, side: str, seed: int, lengths: dict[str, int]) -> dict[str, Any]:
        assert (side, bench.model, bench.cores) == ("pool", "tiny", "0")
        asked[bench.work.prompts] = sum(lengths.values())
        return {"seconds": bench.work.prompts / 10}

    monkeypatch.setattr(inference.Bench, "measure", measure)
    assert inference.grow("tiny", "0") == {"pool_seconds": {64: 6.4, 128: 12.8, 256: 25.6, 512: 51.2}}
    assert asked == {count: count * 4 * (8 + 3 * 16) for count in (64, 128, 256, 512)}
