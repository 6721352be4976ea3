"""Large weight files are told apart by samples of each tensor; everything else by all of its bytes."""

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs
from safetensors.numpy import save_file

from selfreward_ray.errors import UserError
from selfreward_ray.records import Dropped
from selfreward_ray.store import identity
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.identity import SAMPLE_BYTES, _ranges, input_fingerprint
from selfreward_ray.store.step import Step

LARGE = 3 * 2**20
WEIGHTS = {"embed": 400_000, "layer.0": 300_000, "norm": 64, "layer.1": 300_000, "head": 400_000}
"""Elements of float16: 2.8 MB."""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(identity, "WHOLE_BYTES", 2**20)
    return write(tmp_path / "model", weights())


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(count).astype(np.float16) for name, count in WEIGHTS.items()}


def write(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_it_is_that_of_the_content_wherever_it_is_and_whenever_it_was_written(model: Path, tmp_path: Path):
    known = input_fingerprint(str(model))
    copy = shutil.copytree(model, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    os.utime(copy / "model.safetensors", ns=(1, 1))
    assert input_fingerprint(str(copy)) == input_fingerprint(f"file://{copy}") == known


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_tensor_of_which_one_percent_changed_is_another_model_of_the_same_size(model: Path, name: str):
    known, size = input_fingerprint(str(model)), (model / "model.safetensors").stat().st_size
    changed = weights()
    rng = np.random.default_rng(1)
    where = rng.choice(WEIGHTS[name], max(1, WEIGHTS[name] // 100), replace=False)
    changed[name][where] += 1
    write(model, changed)
    assert (model / "model.safetensors").stat().st_size == size
    assert input_fingerprint(str(model)) != known


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_element_of_a_tensor_are_looked_at(model: Path, place: int):
    """New tokens stand at the end of an embedding."""
    known = input_fingerprint(str(model))
    changed = weights()
    changed["embed"][place] += 1
    assert input_fingerprint(str(write(model, changed))) != known


def test_other_names_shapes_and_files_are_another_model(model: Path):
    known = [input_fingerprint(str(model))]
    names = {"layer.0": "layer.1", "layer.1": "layer.2"}  # in the same order, so that the tensors stay where they are
    renamed = {names.get(name, name): tensor for name, tensor in weights().items()}
    shaped = {name: tensor.reshape(-1, 2) for name, tensor in weights().items()}
    known += [input_fingerprint(str(write(model, tensors))) for tensors in (renamed, shaped)]
    (model / "model.safetensors").rename(model / "other.safetensors")
    known.append(input_fingerprint(str(model)))
    (model / "config.json").write_text("[]")
    known.append(input_fingerprint(str(model)))
    assert len(set(known)) == 5


def test_a_large_file_is_read_in_small_part_and_a_small_one_whole(model: Path, monkeypatch: pytest.MonkeyPatch):
    """Two commands of two steps each read less than the weights once."""
    read: list[int] = []
    opened = fs.SubTreeFileSystem("/", fs.LocalFileSystem())

    class Counted:
        get_file_info = opened.get_file_info

        def open_input_stream(self, path: str, compression: None) -> object:
            read.append(opened.get_file_info(path).size)
            return opened.open_input_stream(path, compression=compression)

        def open_input_file(self, path: str) -> object:
            return CountedFile(opened.open_input_file(path))

    class CountedFile:
        def __init__(self, file: object):
            self._file = file

        def read_at(self, nbytes: int, offset: int) -> bytes:
            read.append(nbytes)
            return self._file.read_at(nbytes, offset)

        def __enter__(self) -> "CountedFile":
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(Folder, "filesystem", lambda self: (Counted(), self.uri))
    for _ in range(4):
        input_fingerprint(str(model))
    size = (model / "model.safetensors").stat().st_size
    assert sum(read) < 4 * (len(WEIGHTS) * 3 * SAMPLE_BYTES + 1000) < size
    read.clear()
    monkeypatch.setattr(identity, "WHOLE_BYTES", LARGE)
    input_fingerprint(str(model))
    assert sum(read) == size + 2


@pytest.mark.parametrize(
    "header", [b"\xff" * 8, (5).to_bytes(8, "little") + b"{{{{{", (2).to_bytes(8, "little") + b"[]"]
)
def test_a_large_file_without_a_header_is_named(model: Path, header: bytes):
    (model / "model.safetensors").write_bytes(header + bytes(LARGE))
    with pytest.raises(UserError, match=r"model\.safetensors has no safetensors header"):
        input_fingerprint(str(model))


def headed(offsets: str, size: int = LARGE) -> bytes:
    """A file with two tensors, of which the second has these `offsets`, and `size` bytes behind its header."""
    header = f'{{"a": {{"data_offsets": [0, 8]}}, "b": {{"data_offsets": {offsets}}}}}'.encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.mark.parametrize(
    ("offsets", "size"),
    [
        (f"[8, {LARGE}]", LARGE - 1),
        (f"[8, {LARGE}]", LARGE + 1),
        ("null", LARGE),
        ('["8", "9"]', LARGE),
        ('"ab"', LARGE),
        (f"[{LARGE}]", LARGE),
        (f"[8, 9, {LARGE}]", LARGE),
        (f"[-8, {LARGE}]", LARGE),
        (f"[{LARGE}, 8]", LARGE),
        (f"[8.0, {LARGE}.0]", LARGE),
        (f"[true, {LARGE}]", LARGE),
        (f"[8, 1{'0' * 400}]", LARGE),
        (f"[8, 1{'0' * 5000}]", LARGE),
        ("[" * 100_000 + "]" * 100_000, LARGE),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_header_that_does_not_fit_the_file_is_refused(model: Path, offsets: str, size: int):
    (model / "model.safetensors").write_bytes(headed(offsets, size))
    with pytest.raises(UserError, match=r"model\.safetensors has no safetensors header"):
        input_fingerprint(str(model))


def test_a_header_that_fits_the_file_is_taken(model: Path):
    (model / "model.safetensors").write_bytes(headed(f"[8, {LARGE}]"))
    assert len(input_fingerprint(str(model))) == 64


def test_samples_by_hand():
    """Two neighbours share one range where one ends and the other begins; a small tensor is read whole."""
    s = SAMPLE_BYTES
    assert _ranges([(0, 100)]) == [(0, 100)]
    assert _ranges([(0, 10 * s), (10 * s, 20 * s)]) == [
        (0, s), (9 * s // 2, 11 * s // 2), (9 * s, 11 * s), (29 * s // 2, 31 * s // 2), (19 * s, 20 * s)
    ]  # fmt: skip


@given(st.lists(st.integers(0, 5 * SAMPLE_BYTES), max_size=20))
def test_ranges_are_apart_and_inside_the_tensors(sizes: list[int]):
    ends = list(np.cumsum(sizes, dtype=int))
    tensors = [(int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]
    ranges = _ranges(tensors)
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    assert json.dumps(ranges)  # plain numbers
    for begin, end in tensors:
        covered = sum(max(0, min(end, b) - max(begin, a)) for a, b in ranges)
        assert covered >= min(end - begin, 3 * SAMPLE_BYTES)


def test_an_endpoint_is_identified_by_its_address_however_it_is_spelled():
    assert input_fingerprint("HTTP://Host:8000/v1/#Model") == input_fingerprint("http://host:8000/v1#Model")
    others = ["http://host:8000/v1#model", "http://host:8000/v2#Model", "https://host:8000/v1#Model"]
    assert len({input_fingerprint(name) for name in ["http://host:8000/v1#Model", *others]}) == 4
    with pytest.raises(UserError, match="has a user, a password or a query"):
        input_fingerprint("http://me:key@host/v1#Model")


COMMITS = ["a" * 40, "b" * 40]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub's client. Nothing is asked of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fetched(hub: Path, commit: str) -> None:
    """As the client notes that the branch ``main`` of a model is at `commit`."""
    refs = hub / "models--owner--model" / "refs"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "main").write_text(commit)


def test_a_model_of_the_hub_is_that_of_a_commit(hub: Path):
    assert input_fingerprint("owner/model") == "owner/model"
    found = []
    for commit in COMMITS:
        fetched(hub, commit)
        found.append(input_fingerprint("owner/model"))
    assert found == [f"owner/model@{commit}" for commit in COMMITS]
    assert input_fingerprint("owner/other") == "owner/other"
    fetched(hub, "damaged")
    assert input_fingerprint("owner/model") == "owner/model"


def step_by(out: Path, model: str) -> Step:
    return Step("respond", str(out), {}, {"model": model})


def test_a_branch_that_moved_is_another_model_and_a_commit_that_is_not_known_is_not_compared(hub: Path, tmp_path: Path):
    first = step_by(tmp_path / "out", "owner/model")
    assert not first.is_done()
    fetched(hub, COMMITS[0])  # while the step works, as on its first machine
    first.write([], Dropped)
    assert first.finish(offered=0).made_from["inputs"] == {"model": f"owner/model@{COMMITS[0]}"}
    assert step_by(tmp_path / "out", "owner/model").is_done()
    (hub / "models--owner--model" / "refs" / "main").unlink()  # another machine
    assert step_by(tmp_path / "out", "owner/model").is_done()
    fetched(hub, COMMITS[1])
    with pytest.raises(UserError, match="another model: commit aaaaaaaaaaaa → bbbbbbbbbbbb of owner/model"):
        step_by(tmp_path / "out", "owner/model").is_done()


def test_a_step_of_before_commits_were_recorded_is_the_same(hub: Path, tmp_path: Path):
    first = step_by(tmp_path / "out", "owner/model")
    first.is_done()
    first.finish(offered=0)
    fetched(hub, COMMITS[0])
    assert step_by(tmp_path / "out", "owner/model").is_done()


def test_an_adapter_has_the_commit_of_its_base(hub: Path, tmp_path: Path):
    adapter = Folder(str(tmp_path / "adapter"))
    adapter.write_json("adapter_config.json", {"base_model_name_or_path": "owner/model"})
    plain = input_fingerprint(adapter.uri)
    fetched(hub, COMMITS[0])
    assert input_fingerprint(adapter.uri) == f"{plain}@{COMMITS[0]}"
