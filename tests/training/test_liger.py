"""What is asked of Liger, by a stand-in: its kernels run on GPUs alone (`make bench-gpu` runs them)."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import transformers.integrations.liger

from selfreward_ray.errors import UserError
from selfreward_ray.training.liger import use_liger_kernels

LLAMA = SimpleNamespace(config=SimpleNamespace(model_type="llama"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of transformers' function that puts Liger's kernels into a model; Liger itself knows Llamas alone."""
    calls: list[Any] = []
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    knows = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": None})
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", knows)
    monkeypatch.setattr(
        transformers.integrations.liger, "apply_liger_kernel", lambda model, kernels: calls.append((model, kernels))
    )
    return calls


def test_layers_are_replaced_and_the_head_is_not(asked: list[Any]):
    use_liger_kernels(LLAMA)
    ((model, kernels),) = asked
    assert model is LLAMA
    assert {name for name, wanted in kernels.items() if wanted} == {"rms_norm", "rope", "swiglu", "geglu"}
    assert {name for name, wanted in kernels.items() if not wanted} == {"cross_entropy", "fused_linear_cross_entropy"}


def test_an_unknown_architecture_is_refused(asked: list[Any]):
    with pytest.raises(UserError, match=r"no kernels for models of type 'mamba'; set training.liger_kernels to false"):
        use_liger_kernels(SimpleNamespace(config=SimpleNamespace(model_type="mamba")))
    assert not asked


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(
        UserError, match="needs the package liger-kernel on every worker; it comes with the extra `gpu`"
    ):
        use_liger_kernels(LLAMA)
