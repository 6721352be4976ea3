"""ZeRO-3 on 1, 2 and 4 ranks against plain PyTorch: the same losses, gradients and weights, step by step."""

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


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and beside it what each number of ranks made of it."""
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


@pytest.mark.parametrize("ranks", RANKS)
def test_losses_gradients_and_weights_are_those_of_plain_pytorch(folder: Path, plain: Any, ranks: int):
    expected, weights = plain
    found = json.loads((folder / f"ranks{ranks}" / "steps.json").read_text())
    for name in ("loss", "norm"):
        assert [step[name] for step in found] == pytest.approx([step[name] for step in expected], rel=1e-4)
    before = load_file(folder / "model.safetensors")
    after = {k: v for file in (folder / f"ranks{ranks}").glob("*.safetensors") for k, v in load_file(file).items()}
    assert after.keys() == weights.keys()
    for name, wanted in weights.items():
        moved = (wanted - before[name].float()).norm()
        assert moved > 0.01
        # Adam divides by a gradient's own size: where that is next to nothing, rounding is as large as it.
        assert (after[name] - wanted).norm() < 1e-2 * moved, name


def test_steps_differ_in_their_passes(folder: Path):
    """Else the boundary of a step would not be tried."""
    passes = [step["passes"] for step in json.loads((folder / "ranks1" / "steps.json").read_text())]
    assert any(a != b for a, b in pairwise(passes))
