from typing import Any

import pytest
import torch
from transformers import LlamaConfig, MixtralConfig

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.recipe.training import Training
from selfreward_ray.records import SftTokens
from selfreward_ray.training.batches import Batch, MicroBatch
from selfreward_ray.training.gauges import Gauges

SIZES = {
    "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
A, B = SftTokens("a", (1, 2), (3,)), SftTokens("b", (1,), (2, 3, 4))
STEP = Batch(((MicroBatch((A,)),), (MicroBatch((B,)),)))
FLOPS = 3 * (2 * 7 * 1152 + 2 * 4 * 80 + 2 * (9 + 16) * 16)
"""Forward and backward pass of `STEP`, by hand as in `test_model_flops.py`."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of four ranks, each with an H100 on which PyTorch has allocated at most 3 GiB."""
    monkeypatch.delenv(DECLARED_GPUS, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    monkeypatch.setattr("selfreward_ray.training.gauges.dist.get_world_size", lambda: 4)


def test_a_rank_on_a_cpu_has_its_process_s_memory_and_no_utilization():
    found = Gauges(LlamaConfig(**SIZES), Training()).of(STEP, 2.0)
    assert found.keys() == {"tokens", "tokens_per_second", "peak_memory_gib"}
    assert (found["tokens"], found["tokens_per_second"]) == (7, 3.5)
    assert 0.05 < found["peak_memory_gib"] < 1000


def test_tokens_are_those_of_the_rows_of_all_ranks_without_blanks():
    """In one row the two share their first two tokens and the third."""
    gauges = Gauges(LlamaConfig(**SIZES), Training())
    assert gauges.of(Batch(((MicroBatch((A, B)),), (MicroBatch((A,), blank=True),))), 2.0)["tokens"] == 4


@pytest.mark.usefixtures("gpu")
def test_a_rank_on_a_gpu_has_pytorch_s_memory_and_its_share_of_the_peak():
    found = Gauges(LlamaConfig(**SIZES), Training(gpus_per_worker=1)).of(STEP, 2.0)
    assert found["peak_memory_gib"] == 3
    assert found["mfu"] == pytest.approx(FLOPS / 2.0 / (4 * 989e12))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("config", "training"),
    [
        (LlamaConfig(**SIZES), {"dtype": "float32"}),
        (LlamaConfig(**SIZES), {"lora": {"rank": 4}}),
        (MixtralConfig(**SIZES, num_local_experts=2), {}),
    ],
)
def test_where_the_peak_or_the_operations_are_others_there_is_no_utilization(config: Any, training: dict[str, Any]):
    assert "mfu" not in Gauges(config, Training(gpus_per_worker=1, **training)).of(STEP, 2.0)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_not_known_has_no_utilization(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Another GPU")
    assert "mfu" not in Gauges(LlamaConfig(**SIZES), Training(gpus_per_worker=1)).of(STEP, 2.0)
