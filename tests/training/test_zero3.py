"""Two ranks of ZeRO-3: what they say of a reference, and what plain transformers says of the model that they export."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from safetensors import safe_open
from tiny_model import write_tiny_model
from transformers import AutoModelForCausalLM
from zero3_runs import CASES, PAIRS, READ_BY_VLLM, SHARD_BYTES, Case, accumulate, ask_vllm, run_cases

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the cases' folders, each with its `model` and what the worker `said`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("zero3")
    write_tiny_model(folder / "tied", tied=True)
    write_tiny_model(folder / "untied")
    run_ranks(run_cases, folder)
    return folder


def test_nothing_is_compiled_on_a_worker(trained: Path):
    assert not (trained / "compiled").exists()


def said(trained: Path, case: Case) -> dict[str, Any]:
    return json.loads((trained / case.name / "said.json").read_text())


def plain_logprobs(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Of every target token, one sequence alone, in plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    found = {}
    for sequence in (s for pair in PAIRS for s in pair.sequences()):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].float().log_softmax(-1)
        positions = torch.arange(len(sequence.prompt_ids), ids.shape[1])
        found[sequence.id] = logprobs[positions - 1, ids[0, positions]]
    return found


def apart(left: dict[str, Any], right: dict[str, Any]) -> float:
    """The greatest difference of a token's log-probs, in nats."""
    assert left.keys() == right.keys()
    return max((torch.as_tensor(left[n]) - torch.as_tensor(right[n])).abs().max().item() for n in left)


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

# Nats a token. In float32 only the order of sums differs. In bfloat16 a logit of a few units is rounded to 1/64, and
# the worker's sequences are packed, so that sums are taken in another order.
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.1}


@cases
def test_plain_transformers_says_of_the_export_what_the_worker_says(trained: Path, case: Case):
    job = case.job(trained)
    heard = said(trained, case)
    plain = plain_logprobs(trained / case.name / "model", getattr(torch, job.training.dtype))
    tolerance = TOLERANCES[job.training.dtype]
    assert apart(heard["after"], plain) < tolerance
    assert apart(heard["after"], heard["before"]) > 5 * tolerance  # the training moved it


@pytest.fixture(scope="module")
def read_by_vllm(trained: Path) -> Path:
    """`trained`, and what vLLM says of the exports."""
    run_ranks(ask_vllm, trained, ranks=1)
    return trained


@pytest.mark.parametrize("case", READ_BY_VLLM, ids=lambda case: case.name)
def test_vllm_says_of_the_export_what_the_worker_says(read_by_vllm: Path, case: Case):
    """The engine that samples the next iteration: its log-probs of the same tokens, read as a prompt."""
    heard = json.loads((read_by_vllm / case.name / "vllm.json").read_text())
    assert apart(said(read_by_vllm, case)["after"], heard) < TOLERANCES[case.job(read_by_vllm).training.dtype]


@cases
def test_the_shards_are_small_and_hold_each_tensor_once(trained: Path, case: Case):
    model = trained / case.name / "model"
    files = sorted(model.glob("*.safetensors"))
    assert len(files) > 3
    held = [name for file in files for name in safe_open(file, "pt").keys()]  # noqa: SIM118
    assert len(held) == len(set(held))
    assert ("lm_head.weight" in held) != case.tied
    index = json.loads((model / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(held)
    assert {file.name for file in files} == set(index["weight_map"].values())
    for file in files:
        tensors = safe_open(file, "pt")
        sizes = [t.numel() * t.element_size() for t in map(tensors.get_tensor, tensors.keys())]
        assert sum(sizes) <= SHARD_BYTES or len(sizes) == 1


@cases
def test_the_reference_is_what_the_untouched_policy_said_and_stays_so(trained: Path, case: Case):
    heard = said(trained, case)
    sums = {name: torch.tensor(values).sum().item() for name, values in heard["before"].items()}
    assert heard["reference"] == pytest.approx(sums, abs=1e-4)
    assert heard["again"] == heard["reference"]
    assert heard["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(heard["trained_loss"] - math.log(2)) > 1e-3


@cases
def test_dropout_is_in_training_passes_alone(trained: Path, case: Case):
    """The reference, and what is exported, are those of a training without it."""
    heard = said(trained, case)
    first, second = heard["passes"]
    assert (first != second) == (case.name == "dropout")
    if case.name == "dropout":
        assert apart(first, heard["before"]) > 0.1
        assert heard["reference"] == said(trained, CASES[0])["reference"]
        config = json.loads((trained / case.name / "model" / "config.json").read_text())
        assert config["attention_dropout"] == 0.0


@cases
def test_lora_moves_its_adapters_and_nothing_else(trained: Path, case: Case):
    """Two layers of seven linear ones, two thin matrices each; the export has none of them."""
    heard = said(trained, case)
    adapters = {name for name in heard["moved"] if ".lora_" in name}
    if case.name.startswith("lora"):
        assert set(heard["moved"]) == adapters
        assert len(adapters) == 2 * 7 * 2
    else:
        assert not adapters
        assert heard["still"] == []


@cases
def test_weights_are_let_go_between_passes_where_a_recipe_asks_for_it(trained: Path, case: Case):
    """Else they are so small that each rank keeps them whole."""
    heard = said(trained, case)
    gathered = "gathered" in case.name
    assert (heard["whole"] == []) == gathered


@pytest.mark.parametrize(
    ("gathered", "whole"), [("gathered", "plain"), ("gathered-tied-stored", "tied"), ("lora-gathered", "lora")]
)
def test_gathered_weights_are_trained_as_whole_ones(trained: Path, gathered: str, whole: str):
    one, other = (said(trained, next(case for case in CASES if case.name == name)) for name in (gathered, whole))
    for heard in ("before", "after"):
        assert apart(one[heard], other[heard]) < TOLERANCES["float32"]
    assert one["reference"] == pytest.approx(other["reference"], abs=1e-4)


@cases
def test_the_weights_of_a_layer_are_gathered_together(trained: Path, case: Case):
    assert said(trained, case)["layers"] == ["model.layers.0", "model.layers.1"]


@cases
def test_offload_is_what_a_recipe_asks_for(trained: Path, case: Case):
    """Here from a CPU to itself, and so to the same end: by DeepSpeed's code for it."""
    assert said(trained, case)["offloaded"] == [case.name == "offload"] * 2
    if case.name == "offload":
        assert apart(said(trained, case)["after"], said(trained, CASES[0])["after"]) < TOLERANCES["float32"]


def test_the_reference_of_an_adapter_is_its_base(trained: Path):
    plain, lora = (said(trained, case)["reference"] for case in CASES if case.name in ("plain", "lora"))
    assert lora == plain


def test_small_gradients_do_not_vanish_beside_large_ones(tmp_path: Path):
    """Neither those of other ranks nor those of earlier passes: in bfloat16 a 512th beside 1 is rounded away."""
    run_ranks(accumulate, tmp_path)
    assert json.loads((tmp_path / "gradient.json").read_text()) == [[(1 + 1 / 512) / 2 + 256 / 512] * 4]
