"""Models of an S3 server in a node's cache: fetched once, and again when the copy or the stored model has changed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, Door, door, server
from stores import weight_file

from selfreward_ray.errors import UserError
from selfreward_ray.models import cache
from selfreward_ray.models.local import local_model, without_weights
from selfreward_ray.store.folder import Folder

pytestmark = pytest.mark.engines
WEIGHTS = "model.safetensors"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", "0.25MB")
    monkeypatch.setattr(cache, "PATIENCE_S", 0)
    with server(tmp_path / "log") as port, door(port, tmp_path / "requests") as way:
        for name, value in way.environment().items():
            monkeypatch.setenv(name, value)
        yield way
    end()


def end(*folders: Path) -> None:
    """This process uses them no more, as if it had ended; all if none is named."""
    for folder in folders or tuple(cache._used_here):
        cache._used_here.pop(folder).close()


def write(name: str, seed: str = "", size: int = 100_000) -> str:
    """A model in the bucket."""
    folder = Folder(f"s3://{BUCKET}/{name}")
    folder.write_json("config.json", {})
    folder.write_json("tokenizer.json", {})
    folder.write_json("tokenizer_config.json", {"eos_token": "</s>", "chat_template": "x"})
    folder.write_bytes(WEIGHTS, weight_file(size, seed or name))
    return folder.uri


def fetches(store: Door, name: str = WEIGHTS) -> int:
    """Requests for bytes of such files."""
    return sum(r["method"] == "GET" and r["places"][0].endswith(f"/{name}") for r in store.requests())


def cut_off(file: Path) -> None:
    os.truncate(file, 50_000)


def written_to(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"12345")


@pytest.mark.parametrize("damage", [cut_off, written_to, Path.unlink])
def test_a_damaged_copy_is_fetched_again(store: Door, damage: Callable[[Path], None]):
    model = write("m1")
    folder = local_model(model)
    assert (local_model(model), fetches(store)) == (folder, 1)
    damage(folder / WEIGHTS)
    assert (local_model(model), fetches(store)) == (folder, 2)
    assert (folder / WEIGHTS).read_bytes() == weight_file(100_000, "m1")
    assert fetches(store, "config.json") == 1


def test_a_model_that_was_written_again_under_its_name_is_fetched_again(store: Door):
    before = local_model(write("m1", size=100_000))
    after = local_model(write("m1", "other", size=100_001))
    assert after != before
    assert (after / WEIGHTS).read_bytes() == weight_file(100_001, "other")


def test_two_processes_that_fetch_a_model_at_once_do_it_once(store: Door):
    model = write("m1")
    code = "import sys; from selfreward_ray.models.local import local_model; print(local_model(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, model], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    folders = {process.communicate(timeout=300)[0].strip() for process in processes}
    assert fetches(store) == 1
    (folder,) = folders
    assert (Path(folder) / WEIGHTS).read_bytes() == weight_file(100_000, "m1")


def test_a_driver_that_looks_at_each_model_keeps_no_weights(store: Door, tmp_path: Path):
    """Replicas of each iteration end; the driver does not, and the disk has room for two models."""
    looked_at = []
    for t in range(1, 5):
        model = write(f"M{t}")
        looked_at.append(without_weights(model).folder)
        end(local_model(model))  # the replicas
    assert {model.folder for model in cache.cached_models() if model.in_use} == set(looked_at)
    assert len(list((tmp_path / "cache").rglob(WEIGHTS))) == 2


def test_no_byte_of_the_weights_is_asked_for_where_they_do_not_fit(store: Door):
    model = write("big", size=300_000)
    with pytest.raises(
        UserError, match=rf"model '{model}' \(300\.1 kB\) exceeds the limit of the cache \S+, 250\.0 kB"
    ):
        local_model(model)
    assert fetches(store) == 0


def test_a_model_that_is_stored_cut_off_is_told_once(store: Door):
    model = write("m1")
    Folder(model).write_bytes(WEIGHTS, weight_file(100_000, "m1")[:-1])
    with pytest.raises(
        UserError, match=rf"{BUCKET}/m1/{WEIGHTS} is stored in a damaged form: {WEIGHTS} is cut off: it "
    ):
        local_model(model)
    assert fetches(store) == 1
