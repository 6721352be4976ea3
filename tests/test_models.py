import shutil
from pathlib import Path

import pytest
from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.models import local_model
from selfreward_ray.storage import Folder


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "bucket" / "m1")


def test_a_local_folder_is_used_where_it_is(tiny_model: Path):
    assert local_model(str(tiny_model)) == local_model(f"file://{tiny_model}") == tiny_model


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
    with pytest.raises(UserError, match=r"neither a folder here, nor a hub name \(owner/name\), nor a storage URI"):
        local_model(name)


def test_a_hub_that_can_not_be_asked_is_the_users_error(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError, match="can not fetch model 'owner/model' from the hub.*no network"):
        local_model("owner/model")


def test_a_hub_models_snapshot_is_checked_too(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tiny_model))
    assert local_model("owner/model") == tiny_model
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path))
    with pytest.raises(UserError, match="model 'owner/model' has no config.json"):
        local_model("owner/model")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An object store under ``mock://``, and an empty cache of this node."""
    store = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, self.uri.removeprefix("mock://")))
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "bucket"


def test_a_stored_model_is_fetched_once(bucket: Path, copy: Path, monkeypatch: pytest.MonkeyPatch):
    (copy / "checkpoints").mkdir()
    fetched = local_model("mock://m1")
    assert fetched.parent == bucket.parent / "cache"
    names = {path.name for path in copy.iterdir()} - {"checkpoints"} | {"fetched", ".lock"}
    assert {path.name for path in fetched.iterdir()} == names
    assert (fetched / "model.safetensors").read_bytes() == (copy / "model.safetensors").read_bytes()

    def again(*_: object, **__: object) -> None:
        raise AssertionError("copied twice")

    monkeypatch.setattr("selfreward_ray.models.fs.copy_files", again)
    assert local_model("mock://m1") == fetched


def test_a_stored_model_that_was_written_again_is_fetched_again(bucket: Path, copy: Path):
    before = local_model("mock://m1")
    (copy / "model.safetensors").write_bytes(b"new weights")
    after = local_model("mock://m1")
    assert after != before
    assert (after / "model.safetensors").read_bytes() == b"new weights"


def test_an_interrupted_fetch_is_taken_up_again(bucket: Path, copy: Path):
    fetched = local_model("mock://m1")
    (fetched / "fetched").unlink()
    (fetched / "model.safetensors").unlink()
    assert (local_model("mock://m1") / "model.safetensors").exists()


def test_a_stored_model_that_is_not_there_is_the_users_error(bucket: Path):
    with pytest.raises(UserError, match="model 'mock://m2' has no config.json"):
        local_model("mock://m2")
