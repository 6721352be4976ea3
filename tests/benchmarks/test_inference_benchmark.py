"""The benchmark of the pool against plain vLLM in its minimal form: a tiny model, few short texts, one engine per side.

`tests/parity/test_inference_sides.py` runs all of its sides, with both kinds of lengths.
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
from inference_sides import parameters

from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Sampling


@pytest.mark.release
@pytest.mark.engines
def test_the_pool_generates_the_tokens_that_plain_vllm_does(tiny_model: Path):
    """The benchmark exits with an error if a side generates other numbers of tokens than requested."""
    small = ("--prompts", 2, "--reply", 4, "--verdict", 6, "--cache-mb", 64, "--repeats", 1, "--settle", 0)
    sides = ("--only", "fixed", "--without", "seeded pool", "ray.data.llm")
    core = ("--cores", min(os.sched_getaffinity(0)))
    # vLLM's engine and its worker in one process: each would import vLLM again.
    done = run_benchmark("inference", "--model", tiny_model, *small, *sides, *core, VLLM_ENABLE_V1_MULTIPROCESSING="0")
    assert set(done.figures) == {"pool_over_raw", "prefix_hit_rate"}
    assert 0.001 < done.figures["pool_over_raw"] < 1000
    assert 0.2 < done.figures["prefix_hit_rate"] < 1  # the verdicts on a reply share their prompt
    tokens = 2 * 4 * (4 + 3 * 6)
    measured = re.findall(r"^fixed +1  (\S+) +(\d+) tokens .* (\d+) tokens/s$", done.out, re.MULTILINE)
    assert [(side, generated) for side, generated, _ in measured] == [("raw", str(tokens)), ("pool", str(tokens))]
    assert all(int(rate) > 0 for *_, rate in measured)


def test_natural_lengths_are_those_of_plain_vllm(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    """Without lengths, plain vLLM ends a text itself; with a length, it generates that many tokens."""
    asked = []

    def run(bench: inference.Bench, side: str, seed: int, lengths: dict[str, int]) -> dict[str, Any]:
        asked.append((side, lengths))
        return {"lengths": {"p0000/r0": 3, "p0000/r0/v0/a0": 5}}

    monkeypatch.setattr(inference.Bench, "run", run)
    bench = inference.Bench("natural", inference.WORK["natural"], str(tiny_model), "0")
    assert bench.lengths() == {"p0000/r0": 3, "p0000/r0/v0/a0": 5}
    assert asked == [("raw", {})]
    codec = ChatCodec(tiny_model)
    by_itself, cut = (parameters(Sampling(max_tokens=768), length, codec) for length in (None, 3))
    assert (by_itself["max_tokens"], by_itself["stop_token_ids"], "ignore_eos" in by_itself) == (
        768,
        [codec.end_id],
        False,
    )
    assert (cut["max_tokens"], "stop_token_ids" in cut, cut["ignore_eos"]) == (3, False, True)


def test_growth_asks_the_pool_for_more_and_more_prompts(monkeypatch: pytest.MonkeyPatch):
    asked: dict[int, int] = {}

    def measure(bench: inference.Bench, side: str, seed: int, lengths: dict[str, int]) -> dict[str, Any]:
        assert (side, bench.model, bench.cores) == ("pool", "tiny", "0")
        asked[bench.work.prompts] = sum(lengths.values())
        return {"seconds": bench.work.prompts / 10}

    monkeypatch.setattr(inference.Bench, "measure", measure)
    assert inference.grow("tiny", "0") == {"pool_seconds": {64: 6.4, 128: 12.8, 256: 25.6, 512: 51.2}}
    assert asked == {count: count * 4 * (8 + 3 * 16) for count in (64, 128, 256, 512)}
