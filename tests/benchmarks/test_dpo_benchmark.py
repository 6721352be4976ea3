"""The DPO benchmark: its minimal form, the inputs of its sides, and the time of a rank.

`tests/parity/test_dpo_sides.py` runs the sides that need TRL.
"""

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import BENCHMARKS, run_benchmark
from tiny_model import write_tiny_model

from selfreward_ray.models.chat import ChatCodec

sys.path.insert(0, str(BENCHMARKS))

import dpo
import dpo_sides
from dpo_sides import Phases
from dpo_work import Work, made_pairs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.mark.release
@pytest.mark.engines
def test_our_side_trains_on_a_few_pairs(model: str):
    """The benchmark exits with an error if the first loss is not ln 2."""
    done = run_benchmark("dpo", "--model", model, "--turn", "ours", "--pairs", 4, "--products", 32, 32, 32)
    assert set(done.figures) == {"padding_share", "matmul_peak_share"}
    assert done.figures["padding_share"] == 0
    assert 0 < done.figures["matmul_peak_share"] < math.inf
    tokens = sum(len(s.prompt_ids) + len(s.target_ids) for p in made_pairs(Work(model, pairs=4)) for s in p.sequences())
    [said] = re.findall(r"^ours .*$", done.out, re.MULTILINE)
    assert said.endswith(f", {tokens:,} tokens, losses 0.6931")


def test_trls_sides_are_measured_with_ours(model: str):
    done = run_benchmark("dpo", "--model", model, "--turn", "trl-live")
    assert done.status == 2
    assert "--turn must include ours" in done.errors


def test_growth_is_by_length_and_by_workers(model: str, monkeypatch: pytest.MonkeyPatch):
    def measure(side: str, work: Work) -> dict[str, Any]:
        assert (side, work.pairs, work.recipe.dpo.batch_size) == ("ours", 4, 4)
        return {"seconds": work.reply_tokens, "peak_mb": 100 * work.recipe.training.workers}

    monkeypatch.setattr(dpo, "measure", measure)
    assert dpo.grow(model) == {
        "reply_tokens": {length: {"seconds": length, "peak_mb": 200} for length in (128, 256, 512, 1024, 2048)},
        "workers": {workers: {"seconds": 256, "peak_mb": 100 * workers} for workers in (1, 2, 4)},
    }


def test_pairs_are_the_seeds_and_of_the_lengths_that_are_told(model: str):
    pairs, codec = made_pairs(Work(model)), ChatCodec(Path(model))
    assert pairs == made_pairs(Work(model))
    assert pairs != made_pairs(Work(model, seed=1))
    assert len({pair.id for pair in pairs}) == 48
    frame = len(codec.decode(codec.prompt_ids("")).split())
    words = [len(codec.decode(list(pair.prompt_ids)).split()) - frame for pair in pairs]
    assert 30 <= min(words) < 60 < 120 < max(words) <= 150
    assert all(ids[-1] == codec.end_id for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids))
    lengths = [len(codec.decode(list(s.target_ids)).split()) for pair in pairs for s in pair.sequences()]
    assert 50 < sorted(lengths)[len(lengths) // 2] < 95
    assert max(lengths) > 2.5 * min(lengths)


def test_replies_of_one_length(model: str):
    pairs = made_pairs(Work(model, pairs=3, reply_tokens=128))
    assert {len(s.target_ids) for pair in pairs for s in pair.sequences()} == {128}


def test_a_phase_inside_another_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 1.0, 4.0, 5.0, 7.0, 10.0])
    monkeypatch.setattr(dpo_sides.time, "monotonic", lambda: next(now))
    phases = Phases()
    with phases("backward"):  # 0 to 10
        with phases("gather"):  # 1 to 4
            pass
        with phases("waiting"):  # 5 to 7
            pass
    assert phases.seconds == {"backward": 5.0, "gather": 3.0, "waiting": 2.0}


def test_repeats_of_a_rows_last_token_are_padding(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(torch.nn.modules.module, "register_module_forward_pre_hook", lambda _: None)
    watch, embedding = dpo_sides.Watch(), torch.nn.Embedding(10, 2)
    watch._count(embedding, (torch.tensor([[5, 6, 2, 2, 2], [2, 5, 7, 8, 2]]),))
    watch._count(torch.nn.Linear(2, 2), (torch.ones(3, 2),))
    watch.stop()
    assert (watch.found["computed_tokens"], watch.found["padding_tokens"]) == (10, 2)
    assert watch.found["peak_mb"] > 50
