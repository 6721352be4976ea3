"""Which kernel computes where. Those of GPUs get tensors without values, on PyTorch's device `meta`: their arguments,
shapes and dtypes are checked by PyTorch's own description of each."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_attention import LAYER, PACKED, flash_by_hand
from transformers import AutoModelForCausalLM

from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training import attention, head
from selfreward_ray.training.attention import Spans, has_flash_attention, packed_attention
from selfreward_ray.training.packing import pack
from selfreward_ray.training.policy import Policy

META = torch.device("meta")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that ran, in order."""
    names: list[str] = []

    def noted(name: str) -> Any:
        kernel = getattr(attention, name)
        return lambda *arguments: names.append(name) or kernel(*arguments)

    for name in ("_flash", "_fused", "_products"):
        monkeypatch.setattr(attention, name, noted(name))
    return names


def attend(device: torch.device, dtype: torch.dtype, flash: bool, size: int = 64) -> None:
    query, key = (torch.zeros(1, heads, 13, size, dtype=dtype, device=device) for heads in (6, 2))
    spans = replace(Spans.of(PACKED.segments, device), flash=flash)
    found, _ = packed_attention(LAYER, query, key, key, None, scaling=0.3, spans=spans)
    assert (found.shape, found.dtype, found.device.type) == ((1, 13, 6, size), dtype, device.type)
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attention_takes_all_segments_at_once(called: list[str], dtype: torch.dtype):
    attend(META, dtype, flash=True)
    assert called == ["_flash"]


@pytest.mark.parametrize(
    ("dtype", "size", "flash"),
    [(torch.float32, 64, True), (torch.bfloat16, 320, True), (torch.bfloat16, 64, False)],
    ids=["float32", "wide heads", "an older GPU"],
)
def test_what_flash_attention_does_not_know_is_fused_on_a_gpu(
    called: list[str], dtype: torch.dtype, size: int, flash: bool
):
    attend(META, dtype, flash, size)
    assert called == ["_fused"] * len(PACKED.segments)


def test_a_cpu_computes_products(called: list[str]):
    attend(torch.device("cpu"), torch.bfloat16, flash=False)
    assert called == ["_products"] * len(PACKED.segments)


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
def test_gpus_since_ampere_have_flash_attention(
    capability: tuple[int, int], has: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_flash_attention(torch.device("cuda", 3)) == has
    assert not has_flash_attention(torch.device("cpu"))


def test_a_policy_that_has_flash_attention_says_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """By the kernel's documentation; `make bench-gpu` runs the kernel itself."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).eval()
    packed = pack((SftTokens("s", (5, 6), (7, 8, 9)), PairTokens("p", (10, 11), (12, 13), (14, 15, 16))))
    asked = []

    def flash(*arguments: Any, **scale: float) -> Any:
        asked.append(arguments[7])
        return flash_by_hand(*arguments[:7], 0.25, *arguments[8:], **scale)

    with torch.no_grad():
        expected = Policy(deepcopy(model), max_tokens=16)(packed)
        monkeypatch.setattr(attention, "has_flash_attention", lambda device: True)
        monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)
        found = Policy(model, max_tokens=16)(packed)
    assert asked == [0.0] * model.config.num_hidden_layers
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_a_gpu_makes_few_large_blocks_of_logits_and_a_cpu_small_ones():
    assert head._rows_at_a_time(128_256, "cpu") == (261, 16)
    assert head._rows_at_a_time(128_256, "cuda") == (1046, 1046)
    assert head._rows_at_a_time(2**28, "cuda") == (1, 1)
