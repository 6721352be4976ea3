"""Every architecture of the matrix: trained by two ranks of ZeRO-3, exported, and read by transformers and by vLLM."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, TRAINED, Architecture
from matrix_runs import WAYS, ask_vllm, run_matrix, write_source
from ranks import run_ranks
from safetensors import safe_open
from tiny_model import write_tiny_model
from transformers import AutoModelForCausalLM
from zero3_runs import PAIRS

pytestmark = pytest.mark.engines

TOLERANCE = 1e-5
"""Nats a token, in float32: only the order of sums differs."""
VLLM_TOLERANCE = 1e-4
"""vLLM's kernels of norms, activations and experts are others."""

NOT_ADAPTED = ("embed", "wte", "wpe", "lm_head", ".gate.", "router.")

trained = pytest.mark.parametrize("architecture", TRAINED, ids=lambda architecture: architecture.name)
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each architecture: its `source`, and for each way of training what was said and the export."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("matrix")
    write_tiny_model(folder / "tokenizer")
    for architecture in ARCHITECTURES:
        write_source(architecture, folder / "tokenizer", folder / architecture.name / "source")
    run_ranks(run_matrix, folder, seconds=900)
    return folder


def said(matrix: Path, architecture: Architecture, way: str) -> dict[str, Any]:
    return json.loads((matrix / architecture.name / f"{way}.json").read_text())


def plain(folder: Path) -> dict[str, list[float]]:
    """Log-probs of every target token in plain transformers, one sequence alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return {s.id: _logprobs(model, s) for pair in PAIRS for s in pair.sequences()}


def _logprobs(model: Any, sequence: Any) -> list[float]:
    ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0].float().log_softmax(-1)
    positions = torch.arange(len(sequence.prompt_ids), ids.shape[1])
    return logprobs[positions - 1, ids[0, positions]].tolist()


def apart(left: dict[str, list[float]], right: dict[str, list[float]]) -> float:
    """The greatest difference of a token's log-probs, in nats."""
    assert left.keys() == right.keys()
    pairs = [pair for name in left for pair in zip(left[name], right[name], strict=True)]
    differences = [abs(one - other) for one, other in pairs]
    return math.inf if any(map(math.isnan, differences)) else max(differences)


def tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a folder's tensors."""
    found: dict[str, tuple[int, ...]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as held:
            found |= {name: tuple(held.get_slice(name).get_shape()) for name in held.keys()}  # noqa: SIM118
    return found


@trained
def test_a_packed_row_is_read_as_its_sequences_alone(matrix: Path, architecture: Architecture):
    source = plain(matrix / architecture.name / "source")
    assert apart(said(matrix, architecture, "full")["before"], source) < TOLERANCE


@trained
@each_way
def test_transformers_says_of_the_export_what_the_trained_model_says(
    matrix: Path, architecture: Architecture, way: str
):
    heard = said(matrix, architecture, way)
    assert apart(heard["after"], plain(matrix / architecture.name / way / "model")) < TOLERANCE
    assert apart(heard["after"], heard["before"]) > 0.1  # the training moved it


@trained
@each_way
def test_the_export_has_the_tensors_of_the_folder_that_was_trained(matrix: Path, architecture: Architecture, way: str):
    home = matrix / architecture.name
    assert tensors(home / way / "model") == tensors(home / "source")


@trained
def test_every_weight_is_trained(matrix: Path, architecture: Architecture):
    assert [name for name, moved in said(matrix, architecture, "full")["moved"].items() if not moved] == []


@trained
def test_adapters_are_trained_and_nothing_else(matrix: Path, architecture: Architecture):
    """Beside all weights that are products with matrices, but for the embeddings, the head and the routers."""
    moved = said(matrix, architecture, "lora")["moved"]
    assert {name for name, has in moved.items() if has} == {name for name in moved if "lora_" in name}
    model = AutoModelForCausalLM.from_pretrained(matrix / architecture.name / "source")
    matrices = {
        name
        for name, weight in model.named_parameters()
        if weight.dim() > 1
        and not any(part in name for part in ("embed", "wte", "wpe", "lm_head", ".gate.", "router."))
    }
    assert len([name for name in moved if "lora_" in name]) == 2 * len(matrices)


@trained
def test_the_router_loss_is_that_of_each_sequence_alone(matrix: Path, architecture: Architecture):
    """Of the first step, before any update: its mean over pairs, whatever rank and pass they fell to."""
    first, _ = said(matrix, architecture, "full")["steps"]
    assert ("router_loss" in first) == architecture.balances
    if not architecture.balances or architecture.routes_at_random:
        return
    model = AutoModelForCausalLM.from_pretrained(matrix / architecture.name / "source")
    losses = []
    for sequence in (s for pair in PAIRS for s in pair.sequences()):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
        with torch.no_grad():
            losses.append(model(input_ids=ids, output_router_logits=True).aux_loss.item())
    assert first["router_loss"] == pytest.approx(sum(losses) / len(losses), abs=TOLERANCE)
    assert max(losses) - min(losses) > 0.01


@pytest.mark.parametrize(
    "architecture", [a for a in ARCHITECTURES if a.rejected], ids=lambda architecture: architecture.name
)
def test_what_is_rejected_is_told_why(matrix: Path, architecture: Architecture):
    assert said(matrix, architecture, "full") == {"rejected": architecture.rejected}


@pytest.fixture(scope="module")
def read_by_vllm(matrix: Path) -> Path:
    """`matrix`, and what vLLM says of the exports."""
    run_ranks(ask_vllm, matrix, ranks=1, seconds=900)
    return matrix


@pytest.mark.cluster
@trained
def test_vllm_says_of_the_export_what_the_trained_model_says(read_by_vllm: Path, architecture: Architecture):
    heard = json.loads((read_by_vllm / architecture.name / "vllm.json").read_text())
    agrees = "error" not in heard and apart(said(read_by_vllm, architecture, "full")["after"], heard) < VLLM_TOLERANCE
    assert agrees == (not architecture.unread_by_vllm)
