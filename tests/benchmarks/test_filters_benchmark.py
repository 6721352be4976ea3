"""The benchmark of the near-duplicate filter in its minimal form."""

import math

from benchmark_runs import run_benchmark


def test_a_hundred_new_prompts():
    done = run_benchmark("filters", "--new", 100)
    figures = done.figures
    assert (figures["new"], figures["kept"]) == (100, 200)
    assert figures["equal_to_rouge_score"] is True
    assert 0 < figures["seconds"] < math.inf
    assert math.isfinite(figures["growth_exponent"])
    assert "200 pairs, " in done.out
    assert done.out.count("100 new,    200 kept") == 5
