"""ZeRO-3 on 1, 2 and 4 ranks against plain PyTorch: the same losses, gradients and weights, step by step.

Whether the weights are whole on each rank between passes, or gathered and let go in each.
"""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import one_rank
import pytest
import torch
from ranks import run_ranks
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from selfreward_ray.training.batches import plan_batches

pytestmark = pytest.mark.engines

RANKS = (1, 2, 4)
RUNS = [(way, ranks) for ranks in RANKS for way in one_rank.WAYS]
PLAIN = {"gathered": "whole", "gathered-stored": "whole", "lora-gathered": "lora", "lora-stored": "lora"}
"""The way that gives the same with weights that stay whole and activations that are computed again."""


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and beside it what each number of ranks made of it in each way."""
    folder = tmp_path_factory.mktemp("ranks") / "model"
    shutil.copytree(tiny_model, folder)
    for ranks in RANKS:
        run_ranks(one_rank.train, folder, ranks)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Losses, norms of gradients, and weights of a loop in plain PyTorch, one sequence at a time."""
    job = one_rank.job_of(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    steps = []
    for batch in plan_batches(one_rank.pairs(), job.optimization, 1, seed=0):
        logprobs = {}
        for sequence in (s for p in batch.examples() for s in p.sequences()):
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
            positions = torch.arange(len(sequence.prompt_ids), ids.shape[1])
            said = model(input_ids=ids).logits[0].log_softmax(-1)
            logprobs[sequence.id] = said[positions - 1, ids[0, positions]]
        total, _ = job.objective.loss(tuple(batch.examples()), logprobs, one_rank.reference())
        loss = total / len(batch.examples())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), job.optimization.gradient_clipping)
        optimizer.step()
        steps.append({"loss": loss.item(), "norm": norm.item()})
    return steps, {name: p.detach() for name, p in model.named_parameters()}


def steps_of(folder: Path, way: str, ranks: int) -> list[dict[str, float]]:
    return json.loads((folder / f"{way}-{ranks}" / "steps.json").read_text())


def weights_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    files = (folder / name).glob("*.safetensors")
    return {name: weight for file in files for name, weight in load_file(file).items()}


@pytest.mark.parametrize(("way", "ranks"), [run for run in RUNS if not run[0].startswith("lora")])
def test_losses_gradients_and_weights_are_those_of_plain_pytorch(folder: Path, plain: Any, way: str, ranks: int):
    expected, weights = plain
    found = steps_of(folder, way, ranks)
    for name in ("loss", "norm"):
        assert [step[name] for step in found] == pytest.approx([step[name] for step in expected], rel=1e-4)
    before = load_file(folder / "model.safetensors")
    after = weights_of(folder, f"{way}-{ranks}")
    assert after.keys() == weights.keys()
    for name, wanted in weights.items():
        moved = (wanted - before[name].float()).norm()
        assert moved > 0.01
        # Adam divides by a gradient's own size: where that is next to nothing, rounding is as large as it.
        assert (after[name] - wanted).norm() < 1e-2 * moved, name


def test_steps_differ_in_their_passes(folder: Path):
    """Else the boundary of a step would not be tried."""
    passes = [step["passes"] for step in steps_of(folder, "whole", 1)]
    assert any(a != b for a, b in pairwise(passes))


@pytest.mark.parametrize(("way", "ranks"), [run for run in RUNS if run[0] in PLAIN])
def test_how_a_pass_is_computed_changes_no_update(folder: Path, way: str, ranks: int):
    """Bit for bit: ranks' gradients are added in the order of the ranks, whatever is exchanged at a time."""
    found, expected = (steps_of(folder, name, ranks) for name in (way, PLAIN[way]))
    assert [step["loss"] for step in found] == [step["loss"] for step in expected]
    # The gradient's norm is summed by the parts that are updated at a time.
    assert [step["norm"] for step in found] == pytest.approx([step["norm"] for step in expected], rel=1e-9)
    whole, gathered = (weights_of(folder, f"{name}-{ranks}") for name in (PLAIN[way], way))
    assert [name for name in whole if not torch.equal(whole[name], gathered[name])] == []


@pytest.fixture(scope="module")
def resumed(folder: Path) -> Path:
    """`folder`, and in it what two ranks made of the model with an interruption."""
    run_ranks(one_rank.resume, folder, 2)
    return folder


@pytest.mark.parametrize("way", one_rank.WAYS)
def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(resumed: Path, way: str):
    """Bit for bit, also after a snapshot, and after passes of the engine that goes on."""
    whole, snapshot, found = (weights_of(resumed, f"{way}-{name}") for name in (2, "snapshot", "resumed"))
    assert [name for name in whole if not torch.equal(whole[name], found[name])] == []
    plain = weights_of(resumed, f"{PLAIN.get(way, way)}-snapshot")
    assert [name for name in plain if not torch.equal(plain[name], snapshot[name])] == []
    assert any(not torch.equal(whole[name], snapshot[name]) for name in whole)
