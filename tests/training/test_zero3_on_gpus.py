"""What training does otherwise on GPUs, of which one is declared here: this rank computes on its CPU."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import one_rank as small
import pytest
from transformers import AutoModelForCausalLM

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.recipe.training import Training

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("one_rank")]


@pytest.mark.parametrize("wanted", [True, False])
def test_ligers_kernels_are_put_into_the_model_before_its_policy_is_made(
    wanted: bool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    from selfreward_ray.training import zero3

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    head = model.get_output_embeddings()
    asked: list[bool] = []
    engine = SimpleNamespace(train=lambda: None)
    monkeypatch.setenv(DECLARED_GPUS, "1")
    monkeypatch.setattr(zero3, "load_sharded", lambda *_: model)
    monkeypatch.setattr(zero3, "use_liger_kernels", lambda m: asked.append(m.get_output_embeddings() is head))
    monkeypatch.setattr(zero3.deepspeed, "initialize", lambda **_: (engine, None))
    training = Training(dtype="float32", gpus_per_worker=1, liger_kernels=wanted)
    assert zero3.open_engine(tiny_model, replace(small.job_of(tiny_model), training=training), 1) is engine
    assert asked == [True] * wanted
