"""An export that is not whole stops, names the tensor, and leaves no manifest. One rank, and a model without ZeRO."""

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import write_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward_ray.errors import UserError
from selfreward_ray.models.headers import INDEX
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Pair
from selfreward_ray.steps.train import dpo
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.shards import write_shard

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("one_rank")]

NORM = "model.norm.weight"
RECIPE = Recipe.model_validate({"model": "m0", "training": {"workers": 1}, "dpo": {"batch_size": 1}})


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def empty(model: Any) -> None:
    model.model.norm.weight.data = torch.empty(0)


def reshape(model: Any) -> None:
    model.model.norm.weight.data = torch.ones(8, 8)


def spoil(model: Any) -> None:
    model.model.norm.weight.data[3] = float("nan")


def remove(model: Any) -> None:
    del model.model.norm.weight


def add(model: Any) -> None:
    model.model.norm.bias = torch.nn.Parameter(torch.zeros(64))


FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (empty, f"{NORM}' is empty"),
    (reshape, rf"{NORM}' has shape \(8, 8\), not \(64,\)"),
    (spoil, f"{NORM}' is not finite"),
    (remove, f"lacks {NORM}"),
    (add, "has model.norm.bias"),
]


@pytest.mark.parametrize(("break_model", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_model_that_is_not_whole_is_not_exported(
    tmp_path: Path, tiny_model: Path, break_model: Callable[[Any], None], message: str
):
    from selfreward_ray.training.export import export_model

    model = load(tiny_model)
    break_model(model)
    with pytest.raises(UserError, match=message):
        export_model(model, tiny_model, str(tmp_path / "out"))


def finished_pairs(folder: Path) -> str:
    """A pair step of one pair."""
    step = Step("pair", str(folder / "pair"), {}, {})
    step.is_done()
    step.write([Pair("p", "Why?", (1, 2), Candidate("c", "x", (3,), True), Candidate("r", "y", (4,), True))], Pair)
    step.finish(offered=1)
    return step.folder.uri


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def cut_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, cut_header, flip])
def test_a_shard_that_is_stored_otherwise_stops_the_step(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
):
    """By the step itself, whose trainer is replaced: it has no manifest afterwards. Tensors are stored by name."""
    from selfreward_ray.training import export

    write = export.write_shard

    def damaged(folder: Folder, file: str, tensors: dict[str, torch.Tensor]) -> None:
        write(folder, file, tensors)
        if file.startswith("model-00002"):
            damage(Path(folder.uri) / file)

    monkeypatch.setattr(export, "write_shard", damaged)

    def train(job: TrainJob, progress: Any) -> None:
        export.export_model(load(tiny_model), tiny_model, job.folders.model.uri, shard_bytes=100_000)

    with pytest.raises(UserError, match=r"weight 'model\.layers\.0\.\S+' does not read back from .*model-00002"):
        dpo(RECIPE, model=str(tiny_model), pairs=finished_pairs(tmp_path), out=str(tmp_path / "out"), trainer=train)
    assert read_manifest(Folder(str(tmp_path / "out/training"))) is None


@pytest.mark.parametrize(("store", "flushed"), [("py::s3", True), ("py::abfs", False)])
def test_no_part_of_a_shard_is_shown(monkeypatch: pytest.MonkeyPatch, store: str, flushed: bool):
    """Azure shows what is flushed."""
    stream = Mock()
    monkeypatch.setattr(Folder, "writing", lambda _folder, _name: nullcontext(stream))
    monkeypatch.setattr(Folder, "filesystem", lambda _folder: (SimpleNamespace(type_name=store), "model"))
    write_shard(Folder("model"), "model-00001", {f"w{number}": torch.ones(2) for number in range(20)})
    assert stream.flush.called == flushed


MODEL_FILES = re.compile(
    r"config\.json|generation_config\.json|tokenizer(_config)?\.json|chat_template\.jinja|special_tokens_map\.json"
    r"|model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json"
)


def test_a_models_folder_has_its_files_and_no_others(tmp_path: Path):
    """Neither the step's, nor what an earlier attempt and the model before left beside theirs."""
    from selfreward_ray.training.export import export_model

    source = write_tiny_model(tmp_path / "source")
    (source / "steps.jsonl").touch()
    (source / "README.md").touch()
    left = Folder(str(tmp_path / "out" / "model"))

    def train(job: TrainJob, progress: Any) -> None:
        job.folders.training.write_json("summary.json", {"tokens": 1})
        left.write_bytes("model-00009-of-00009.safetensors", b"torn")
        left.write_bytes("model.safetensors", b"")
        export_model(load(source), source, job.folders.model.uri, shard_bytes=100_000)

    made = dpo(RECIPE, model=str(source), pairs=finished_pairs(tmp_path), out=str(tmp_path / "out"), trainer=train)
    assert made.tokens == 1
    model = tmp_path / "out" / "model"
    names = {path.name for path in model.iterdir()}
    assert [name for name in names if not MODEL_FILES.fullmatch(name)] == []
    # vLLM reads the weights that the index names, the configuration, the tokenizer and its template.
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} < names
    assert set(json.loads((model / INDEX).read_text())["weight_map"].values()) < names
    assert AutoTokenizer.from_pretrained(model).chat_template
    assert torch.equal(load(model).model.norm.weight, load(source).model.norm.weight)


KEPT = (
    "preprocessor_config.json", "processor_config.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt",
    "additional_chat_templates/rag.jinja", "LICENSE", "NOTICE.txt",
)  # fmt: skip
LEFT = (
    "pytorch_model.bin", "pytorch_model.bin.index.json", "model.fp16.safetensors", "consolidated.00.pth", "model.gguf",
    "adapter_config.json", "adapter_model.safetensors", "README.md", "trainer_state.json", "original/params.json",
)  # fmt: skip


def test_files_that_hold_for_the_trained_model_too_are_kept_and_no_weights(tmp_path: Path):
    from selfreward_ray.training.export import export_model

    source = write_tiny_model(tmp_path / "source")
    model = load(source)
    for name in (*KEPT, *LEFT):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    export_model(model, source, str(tmp_path / "out"))
    for name in KEPT:
        assert (tmp_path / "out" / name).read_text() == name
    assert [name for name in LEFT if (tmp_path / "out" / name).exists()] == []


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_configuration_is_that_of_the_folder_but_for_its_dtype(tmp_path: Path, key: str):
    """With what transformers does not know, which other programs may read, and no dropout of training."""
    from selfreward_ray.training.export import export_model

    source = write_tiny_model(tmp_path / "source")
    written = json.loads((source / "config.json").read_text())
    del written["dtype"]
    written |= {key: "bfloat16", "topk_method": "noaux_tc"}
    (source / "config.json").write_text(json.dumps(written))
    model = load(source)
    model.config.attention_dropout = 0.5
    export_model(model, source, str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == written | {key: "float32"}
    assert load(tmp_path / "out").config.dtype == torch.float32


def test_a_weight_that_the_folder_lacks_is_not_exported(tmp_path: Path):
    from selfreward_ray.training.export import export_model

    source = write_tiny_model(tmp_path / "source")
    model = load(source)
    held = load_file(source / "model.safetensors")
    del held[NORM]
    save_file(held, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"no tensors for {NORM}"):
        export_model(model, source, str(tmp_path / "out"))


@pytest.mark.parametrize("tied", [False, True])
def test_the_export_is_the_model_with_its_own_tokenizer_and_template(tmp_path: Path, tied: bool):
    from selfreward_ray.training.export import export_model

    source = write_tiny_model(tmp_path / "source", tied=tied)
    export_model(load(source), source, str(tmp_path / "out"), shard_bytes=60_000)
    exported = load(tmp_path / "out")
    assert exported.config.dtype == torch.float32
    for name, tensor in load(source).state_dict().items():
        assert torch.equal(exported.state_dict()[name], tensor), name
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
