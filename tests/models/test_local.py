import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from stores import weight_file

from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.local import Adapter, local_model, model_and_adapter, portable, without_weights
from selfreward_ray.store.folder import Folder


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "bucket" / "m1")


def test_a_local_folder_is_used_where_it_is(tiny_model: Path):
    assert local_model(str(tiny_model)) == local_model(f"file://{tiny_model}") == tiny_model


def test_a_file_uri_is_read_as_storage_reads_it(copy: Path):
    folder = copy.rename(copy.parent / "my run#1")
    assert local_model(f"file://{copy.parent}/my%20run%231") == folder
    with pytest.raises(UserError, match="write %23 for #"):
        local_model(f"file://{copy.parent}/my%20run#1")


def test_a_template_in_the_tokenizers_configuration_is_enough(copy: Path):
    (copy / "chat_template.jinja").unlink()
    (copy / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert local_model(str(copy)) == copy


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "*.safetensors weights"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "chat template"),
    ],
)
def test_what_a_model_lacks_is_named(copy: Path, missing: str, named: str):
    (copy / missing).unlink()
    with pytest.raises(UserError) as error:
        local_model(str(copy))
    assert str(error.value).startswith(f"model '{copy}' has no {named}; ")


@pytest.mark.parametrize("name", ["no-such-folder", "/no/such/folder", "a/b/c", "file:///no/such/folder"])
def test_a_name_that_is_nothing_says_what_it_could_be(name: str):
    with pytest.raises(UserError, match=r"neither a local folder, nor a hub name \(owner/name\), nor a storage URI"):
        local_model(name)


def test_a_hub_that_can_not_be_asked_is_the_users_error(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network\n\nIs the cable in?\n")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    said = "cannot fetch model 'owner/model' from the hub, and there is .*: no network$"
    with pytest.raises(UserError, match=said):
        local_model("owner/model")


def test_a_hub_models_snapshot_is_checked_too(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tiny_model))
    assert local_model("owner/model") == tiny_model
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path))
    with pytest.raises(UserError, match="model 'owner/model' has no config.json"):
        local_model("owner/model")


def test_a_hub_model_without_weights_is_checked_by_the_hubs_list(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, copy: Path
):
    """Weights are no part of what is downloaded, but must be there."""
    (copy / "model.safetensors").unlink()
    unwanted: list[str] = []

    def download(name: str, ignore_patterns: list[str], **_: Any) -> str:
        unwanted[:] = ignore_patterns
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda name: [path.name for path in tiny_model.iterdir()])
    assert without_weights("owner/model").folder == copy
    assert "*.safetensors" in unwanted
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda name: [path.name for path in copy.iterdir()])
    with pytest.raises(UserError, match=r"model 'owner/model' has no \*.safetensors weights"):
        without_weights("owner/model")


def test_a_download_from_the_hub_reports_its_bytes(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, capfd: pytest.CaptureFixture[str]
):
    """By bars as the hub's client makes them: one of bytes, whose total grows, and one of files."""

    def download(name: str, tqdm_class: Any, **_: Any) -> str:
        bar = tqdm_class(desc="Reconstructing", total=0, initial=0, unit="B", unit_scale=True)
        files = tqdm_class(desc="Fetching 2 files", total=2)
        bar.total += 30
        for size in (10, 20):
            bar.update(size)
            files.update()
        return str(tiny_model)

    told: list[tuple[int, int]] = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    local_model("owner/model", progress=lambda here, total: told.append((here, total)))
    assert told == [(10, 30), (30, 30)]
    assert capfd.readouterr().err == ""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An object store under ``mock://``, and an empty cache of this node."""
    store = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, self.uri.removeprefix("mock://")))
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "bucket"


UNREAD = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "consolidated.safetensors", "model.onnx_data")
"""Weights in other forms, which would be fetched for nothing."""


def test_a_stored_model_is_fetched_once(bucket: Path, copy: Path, monkeypatch: pytest.MonkeyPatch):
    (copy / "checkpoints").mkdir()
    for unread in UNREAD:
        (copy / unread).touch()
    fetched = local_model("mock://m1")
    assert fetched.parent == bucket.parent / "cache"
    names = {path.name for path in copy.iterdir()} - {"checkpoints", *UNREAD} | {".lock", ".use"}
    assert {path.name for path in fetched.iterdir()} == names
    assert (fetched / "model.safetensors").read_bytes() == (copy / "model.safetensors").read_bytes()

    def again(*_: object, **__: object) -> None:
        raise AssertionError("copied twice")

    monkeypatch.setattr("selfreward_ray.models.fetch._fetch", again)
    assert local_model("mock://m1") == fetched


def test_without_weights_only_the_other_files_of_a_stored_model_are_fetched(bucket: Path, copy: Path):
    fetched = without_weights("mock://m1").folder
    assert ChatCodec(fetched).prompt_ids("Why?") == ChatCodec(copy).prompt_ids("Why?")
    assert {path.name for path in copy.iterdir()} - {path.name for path in fetched.iterdir()} == {"model.safetensors"}
    assert (local_model("mock://m1") / "model.safetensors").exists()
    assert without_weights("mock://m1").folder == fetched
    assert not (fetched / "model.safetensors").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_what_a_stored_model_lacks_is_known_without_its_weights(bucket: Path, copy: Path, missing: str):
    (copy / missing).unlink()
    with pytest.raises(UserError, match="model 'mock://m1' has no"):
        without_weights("mock://m1")


def test_a_fetch_reports_its_bytes(bucket: Path, copy: Path):
    told: list[tuple[int, int]] = []
    fetched = local_model("mock://m1", progress=lambda here, total: told.append((here, total)))
    size = sum(path.stat().st_size for path in fetched.iterdir() if path.name != ".use")
    assert (told[0], told[-1]) == ((0, size), (size, size))
    assert told == sorted(told)


def test_a_stored_model_that_was_written_again_is_fetched_again(bucket: Path, copy: Path):
    before = local_model("mock://m1")
    (copy / "model.safetensors").write_bytes(weight_file(300, "new"))
    after = local_model("mock://m1")
    assert after != before
    assert (after / "model.safetensors").read_bytes() == weight_file(300, "new")


def test_a_file_that_is_gone_is_fetched_again(bucket: Path, copy: Path):
    fetched = local_model("mock://m1")
    (fetched / "model.safetensors").unlink()
    assert (local_model("mock://m1") / "model.safetensors").exists()


def test_a_stored_model_that_is_not_there_is_the_users_error(bucket: Path):
    with pytest.raises(UserError, match="model 'mock://m2' has no config.json"):
        local_model("mock://m2")


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny model, as peft saves one; its weights are not read here."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(weight_file(300))
    return configured(tmp_path / "adapter", base_model_name_or_path=str(tiny_model))


def configured(adapter: Path, **changes: Any) -> Path:
    """`adapter` with these fields of its configuration; None leaves one out."""
    path = adapter / "adapter_config.json"
    before = json.loads(path.read_text()) if path.exists() else {"peft_type": "LORA", "r": 24, "lora_alpha": 48}
    path.write_text(json.dumps({name: value for name, value in (before | changes).items() if value is not None}))
    return adapter


def test_an_adapter_comes_with_the_model_that_it_names(tiny_model: Path, adapter: Path):
    assert model_and_adapter(str(adapter)) == (tiny_model, Adapter(adapter, rank=24))
    assert model_and_adapter(f"file://{adapter}") == (tiny_model, Adapter(adapter, rank=24))


def test_a_model_comes_without_an_adapter(tiny_model: Path):
    assert model_and_adapter(str(tiny_model)) == (tiny_model, None)


def test_a_stored_adapter_is_fetched_and_so_is_its_base(bucket: Path, copy: Path, adapter: Path):
    shutil.copytree(configured(adapter, base_model_name_or_path="mock://m1"), bucket / "adapter")
    base, fetched = model_and_adapter("mock://adapter")
    assert fetched is not None
    assert base.parent == fetched.folder.parent == bucket.parent / "cache"
    assert (base / "config.json").read_bytes() == (copy / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "must have peft_type LORA, base_model_name_or_path and r, as peft saves them"),
        ({"peft_type": None}, "must have peft_type LORA"),
        ({"r": None}, "must have peft_type LORA, base_model_name_or_path and r"),
        ({"r": "24"}, "must have peft_type LORA, base_model_name_or_path and r"),
        ({"base_model_name_or_path": None}, "must have peft_type LORA, base_model_name_or_path and r"),
        ({"base_model_name_or_path": "/no/such/model"}, "model '/no/such/model' is neither a local folder"),
    ],
)
def test_what_is_wrong_with_an_adapters_configuration_is_said(adapter: Path, changes: dict[str, Any], message: str):
    with pytest.raises(UserError) as error:
        model_and_adapter(str(configured(adapter, **changes)))
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}"])
def test_an_adapters_configuration_that_is_not_json_is_named(adapter: Path, content: bytes):
    (adapter / "adapter_config.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        model_and_adapter(str(adapter))
    assert str(error.value).startswith(f"adapter '{adapter}': its adapter_config.json is not JSON (")


def test_a_configuration_that_is_no_mapping_is_refused(adapter: Path):
    (adapter / "adapter_config.json").write_text('["LORA"]')
    with pytest.raises(UserError, match="must have peft_type LORA"):
        model_and_adapter(str(adapter))


def test_an_adapter_without_weights_is_refused_before_its_base_is_looked_for(adapter: Path):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    configured(adapter, base_model_name_or_path="owner/model")
    with pytest.raises(UserError, match=r"has no adapter_model.safetensors; .*\(pickled weights are not read\)"):
        model_and_adapter(str(adapter))


def test_an_adapter_is_no_model_and_no_base_of_another(adapter: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter' is a LoRA adapter, but a model is needed here; merge it"):
        local_model(str(adapter))
    other = shutil.copytree(adapter, tmp_path / "other")
    with pytest.raises(UserError, match=r"adapter' is a LoRA adapter, but a model is needed here; merge it"):
        model_and_adapter(str(configured(other, base_model_name_or_path=str(adapter))))


def test_a_local_folder_is_made_absolute_once_it_is_known_to_be_complete(
    adapter: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(adapter.parent)
    assert portable("adapter", adapters=True) == str(adapter)
    assert portable(str(tiny_model)) == str(tiny_model)
    with pytest.raises(UserError, match="'adapter' is a LoRA adapter, but a model is needed here"):
        portable("adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="adapter 'adapter' has no adapter_model.safetensors"):
        portable("adapter", adapters=True)


def test_an_adapters_base_is_no_relative_path(adapter: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_model.parent)
    configured(adapter, base_model_name_or_path=tiny_model.name)
    with pytest.raises(UserError, match="is a relative path; write an absolute path"):
        portable(str(adapter), adapters=True)


@pytest.mark.parametrize("uri", ["owner/model", "s3://bucket/m1"])
def test_what_is_no_folder_here_is_left_to_each_node(uri: str):
    assert portable(uri) == uri


def test_an_endpoint_is_nowhere_fetched():
    name = "http://127.0.0.1:9/v1#judge"
    assert portable(name) == name
    for fetched in (local_model, model_and_adapter):
        with pytest.raises(UserError, match="http://127.0.0.1:9/v1#judge is an endpoint, which has no weights here"):
            fetched(name)


@pytest.mark.parametrize("template", ["null", '""', "[]"])
def test_a_template_that_is_null_is_none(copy: Path, template: str):
    (copy / "chat_template.jinja").unlink()
    (copy / "tokenizer_config.json").write_text(f'{{"chat_template": {template}, "eos_token": "<|im_end|>"}}')
    with pytest.raises(UserError, match="has no chat template; add a chat_template.jinja"):
        local_model(str(copy))


def test_an_empty_template_file_is_no_template(copy: Path):
    (copy / "chat_template.jinja").write_text(" \n")
    with pytest.raises(UserError, match="has no chat template; add a chat_template.jinja"):
        local_model(str(copy))


@pytest.mark.parametrize("left_out", [False, True])
def test_a_tokenizer_without_an_end_token_is_named(copy: Path, left_out: bool):
    """Its class, the one of no family in particular, has none by default; that of a family has."""
    path = copy / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"eos_token": None}
    if left_out:
        del config["eos_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        local_model(str(copy))
    assert str(error.value).startswith(f"model '{copy}' has no end token; name the token that ends a reply as eos_tok")
    if left_out:
        path.write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizer"}))
        assert local_model(str(copy)) == copy


@pytest.mark.parametrize("content", ["{", "[1]", "null"])
def test_a_configuration_of_the_tokenizer_that_cannot_be_read_is_named(copy: Path, content: str):
    (copy / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match="its tokenizer_config.json is not "):
        local_model(str(copy))


@pytest.mark.parametrize("value", ["  ", 5, [], [5], ["name"]])
def test_what_is_no_template_is_told_before_anything_starts(tiny_model: Path, tmp_path: Path, value: object):
    folder = with_settings(tiny_model, tmp_path, chat_template=value)
    with pytest.raises(UserError, match="has no chat template; add a chat_template.jinja"):
        local_model(str(folder))


@pytest.mark.parametrize(
    "value", [[{"name": "tool_use", "template": "x"}, {"name": "rag", "template": "y"}], {"tool_use": "x", "rag": "y"}]
)
def test_several_templates_without_a_default_are_named(tiny_model: Path, tmp_path: Path, value: object):
    folder = with_settings(tiny_model, tmp_path, chat_template=value)
    with pytest.raises(
        UserError, match=r"has no chat template named default, but rag, tool_use; write the one that is"
    ):
        local_model(str(folder))


@pytest.mark.parametrize("value", ["x", [{"name": "default", "template": "x"}], {"default": "x"}])
def test_one_of_several_templates_is_the_default(tiny_model: Path, tmp_path: Path, value: object):
    folder = with_settings(tiny_model, tmp_path, chat_template=value)
    assert local_model(str(folder)) == folder


def test_an_end_token_may_stand_in_the_map_alone(tiny_model: Path, tmp_path: Path):
    folder = with_settings(tiny_model, tmp_path, chat_template="x", eos_token=None)
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|im_end|>"}', encoding="utf-8")
    assert local_model(str(folder)) == folder


def with_settings(model: Path, folder: Path, **settings: object) -> Path:
    """A copy of a model with other settings of its tokenizer, and no file of a template."""
    copy = Path(shutil.copytree(model, folder / "m"))
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    (copy / "special_tokens_map.json").unlink(missing_ok=True)
    file = copy / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | settings), encoding="utf-8")
    return copy
