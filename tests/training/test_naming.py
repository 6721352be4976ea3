"""Weights under the names of the folder that they were read from. Trained ones, under ZeRO-3, in `test_matrix`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import TRAINED
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import Chunk, WeightConverter

from selfreward_ray.errors import UserError
from selfreward_ray.models.headers import folder_headers
from selfreward_ray.store.folder import Folder
from selfreward_ray.training import naming
from selfreward_ray.training.lora import saved_weights
from selfreward_ray.training.naming import FolderNames

SETTINGS = {architecture.name: (architecture.type, architecture.settings()) for architecture in TRAINED}


def model_of(name: str) -> Any:
    kind, settings = SETTINGS[name]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))


def split(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of the model that transformers makes of `folder`, under the folder's names."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    names = FolderNames.of(model.config, folder_headers(Folder(str(folder))).shapes)
    names.check_covers(saved_weights(model))
    return {
        name: tensor
        for weight, held in saved_weights(model).items()
        for name, tensor in names.split(weight, held.value()).items()
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)] == []


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("mixtral", "model.layers.1.block_sparse_moe.experts.3.w2.weight"),
        ("phimoe", "model.layers.1.block_sparse_moe.gate.weight"),
        ("granite-moe", "model.layers.0.block_sparse_moe.input_linear.weight"),
        ("olmoe", "model.layers.0.mlp.experts.0.up_proj.weight"),
        ("deepseek-v3", "model.layers.1.mlp.gate.e_score_correction_bias"),
        ("gpt-neox", "embed_out.weight"),
        ("gpt2", "transformer.h.0.attn.c_attn.weight"),
    ],
)
def test_weights_become_the_tensors_that_they_were_made_of(tmp_path: Path, name: str, stored: str):
    model_of(name).save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    assert stored in held
    assert_equal(split(tmp_path), held)


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_names_without_the_base_models_prefix_stay_so(tmp_path: Path, name: str):
    """As in GPT-2's own folder, which also has buffers that transformers does not read."""
    model = model_of(name)
    model.save_pretrained(tmp_path)
    prefix = f"{model.base_model_prefix}."
    bare = {name.removeprefix(prefix): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(bare | {"h.0.attn.bias": torch.ones(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert_equal(split(tmp_path), bare)


def test_names_that_are_transformers_own_stay_so(tmp_path: Path):
    """Of a folder that holds Mixtral's experts as one tensor."""
    model = model_of("mixtral")
    model.config.save_pretrained(tmp_path)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(own, tmp_path / "model.safetensors", {"format": "pt"})
    assert_equal(split(tmp_path), own)


def test_a_weight_that_the_folder_does_not_have_is_named(tmp_path: Path):
    model = model_of("llama")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if "norm.weight" not in name}
    with pytest.raises(UserError, match=r"no tensors for model\.norm\.weight"):
        FolderNames.of(model.config, shapes).check_covers(["model.norm.weight", "lm_head.weight"])


def test_a_tensor_that_becomes_several_weights_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Each weight is gathered and stored by itself; this tensor would need two at once."""
    model = model_of("mistral")  # of no conversions
    chunk = WeightConverter("mlp.gate_up.weight", ["mlp.gate_proj.weight", "mlp.up_proj.weight"], [Chunk(dim=0)])
    monkeypatch.setattr(naming, "get_model_conversion_mapping", lambda _: [chunk])
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if "mlp" not in name}
    shapes |= {f"model.layers.{layer}.mlp.gate_up.weight": (256, 64) for layer in range(2)}
    with pytest.raises(UserError, match=r"mlp\.gate_proj\.weight cannot be exported under the names of its folder"):
        FolderNames.of(model.config, shapes)
