"""Headers of weight files on disk, in a bucket and on the hub: what they say, and how they may be damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_files import write_header, write_shards
from pyarrow import fs

from selfreward_ray.models import headers
from selfreward_ray.models.headers import INDEX, folder_headers, hub_headers
from selfreward_ray.store.folder import Folder

SHAPES = {f"layers.{number}.weight": (4, number + 1) for number in range(9)} | {"norm.weight": (3,), "scale": ()}


def read(folder: Path) -> headers.Headers:
    return folder_headers(Folder(str(folder)))


@pytest.mark.parametrize("first_bytes", [10, 500, 2**17])
def test_one_file_and_many_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_bytes: int):
    """Whether or not a header fits into what is asked for at once."""
    monkeypatch.setattr(headers, "_FIRST_BYTES", first_bytes)
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    write_header(one / "model.safetensors", SHAPES)
    write_shards(many, SHAPES, 4)
    for folder in (one, many):
        found = read(folder)
        assert (found.shapes, found.faults) == (SHAPES, ())
        assert set(found.types.values()) == {"BF16"}


def test_of_a_bucket_only_the_first_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_shards(tmp_path, dict.fromkeys(SHAPES, (1024, 1024)), 4)
    asked: list[tuple[int, int]] = []

    class Bucket:
        """pyarrow's file system of the folder, which notes what is read."""

        def __init__(self) -> None:
            self.inner = fs.SubTreeFileSystem(str(tmp_path.parent), fs.LocalFileSystem())

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def open_input_file(self, path: str) -> Any:
            outer = self.inner.open_input_file(path)

            class File:
                def __enter__(self) -> "File":
                    return self

                def __exit__(self, *_: object) -> None:
                    outer.close()

                def read_at(self, count: int, begin: int) -> bytes:
                    asked.append((begin, count))
                    return bytes(outer.read_at(count, begin))

            return File()

    monkeypatch.setattr(Folder, "filesystem", lambda self: (Bucket(), self.uri.removeprefix("mock://")))
    assert folder_headers(Folder(f"mock://{tmp_path.name}")).shapes.keys() == SHAPES.keys()
    assert asked == [(0, 2**17)] * 4


def cut(path: Path, left_out: int) -> None:
    path.write_bytes(path.read_bytes()[:-left_out])


def index(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)


def header(folder: Path, text: bytes, length: int | None = None) -> None:
    (folder / "model-00002-of-00003.safetensors").write_bytes((length or len(text)).to_bytes(8, "little") + text)


def two(first: list[int], second: list[Any], **changes: Any) -> bytes:
    """A header of the tensors a and b."""
    a = {"dtype": "F32", "shape": [1], "data_offsets": first}
    return json.dumps({"a": a, "b": a | {"data_offsets": second} | changes}).encode()


SECOND = "model-00002-of-00003.safetensors"
DAMAGED = f"the header of {SECOND} is damaged"
DAMAGES: dict[str, tuple[Any, str]] = {
    "a shard is gone": (lambda f: (f / SECOND).unlink(), f"{SECOND}, which its {INDEX} names, is missing; copy it"),
    "cut off": (lambda f: cut(f / SECOND, 1), f"{SECOND} is cut off: it has "),
    "cut off in its header": (
        lambda f: (f / SECOND).write_bytes((f / SECOND).read_bytes()[:50]), f"{SECOND} is no safetensors file, or cut "
    ),
    "empty": (lambda f: (f / SECOND).write_bytes(b""), f"{SECOND} is no safetensors file, or cut off in its header"),
    "seven bytes": (lambda f: (f / SECOND).write_bytes(b"1234567"), f"{SECOND} is no safetensors file"),
    "another format": (lambda f: (f / SECOND).write_bytes(b"PK\x03\x04" * 99), f"{SECOND} is no safetensors file"),
    "a pointer": (
        lambda f: (f / SECOND).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"),
        f"{SECOND} is a pointer of git-lfs, and not the file itself; run git lfs pull",
    ),
    "more than the header says": (
        lambda f: (f / SECOND).write_bytes((f / SECOND).read_bytes() + b"xx"), f"{SECOND} is damaged: it has "
    ),
    "no JSON": (lambda f: header(f, b"{]"), f"the header of {SECOND} is damaged ("),
    "no tensors": (lambda f: header(f, b"[1]"), f"{DAMAGED} (it is no JSON object)"),
    "no shape": (lambda f: header(f, b'{"a": {"dtype": "F32", "data_offsets": [0, 0]}}'), f"the header of {SECOND} is"),
    "other bytes than the shape's": (
        lambda f: header(f, b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}'),
        f"the header of {SECOND} is damaged (a has 4 bytes, but the shape [2] of F32)",
    ),
    "two tensors in one place": (lambda f: header(f, two([0, 4], [0, 4])), f"{DAMAGED} (b begins at byte "),
    "overlapping tensors": (lambda f: header(f, two([0, 4], [2, 6])), f"{DAMAGED} (b begins at byte "),
    "a gap": (lambda f: header(f, two([0, 4], [8, 12])), f"{DAMAGED} (b begins at byte "),
    "offsets that are no whole numbers": (
        lambda f: header(f, two([0, 4], [4.0, 8.0])), f"{DAMAGED} (b has the shape [1] at [4.0, 8.0], which are no"
    ),
    "a negative shape": (
        lambda f: header(f, two([0, 4], [4, 8], shape=[-1, -1])), f"{DAMAGED} (b has the shape [-1, -1] at [4, 8], wh"
    ),
    "an unknown type": (
        lambda f: header(f, two([0, 4], [4, 8], dtype="F99")), f"{DAMAGED} (b has the type 'F99', which safetensors d"
    ),
    "metadata that is no map": (lambda f: header(f, b'{"__metadata__": 5}'), f"{DAMAGED} (its __metadata__ is no map"),
    "metadata of numbers": (lambda f: header(f, b'{"__metadata__": {"a": 5}}'), f"{DAMAGED} (its __metadata__ is no"),
    "a deep header": (lambda f: header(f, b"[" * 100_000), f"{DAMAGED} (maximum recursion depth"),
    "a deep index": (lambda f: index(f, "[" * 100_000), f"its {INDEX} cannot be read (maximum recursion depth"),
    "a tensor in two files": (
        lambda f: write_header(f / SECOND, {n: SHAPES[n] for n in (*sorted(SHAPES)[1::3], "layers.0.weight")}),
        f"layers.0.weight is in model-00001-of-00003.safetensors and in {SECOND}; copy it again",
    ),
    "a torn index": (lambda f: index(f, '{"weight_map": {"a": "mod'), f"its {INDEX} cannot be read ("),
    "an index without a map": (lambda f: index(f, "{}"), f"its {INDEX} cannot be read (it has no weight_map of fi"),
    "an index of numbers": (lambda f: index(f, '{"weight_map": {"a": 1}}'), f"its {INDEX} cannot be read (it has no"),
    "no index": (lambda f: (f / INDEX).unlink(), f"it has neither model.safetensors nor {INDEX}"),
    "a tensor that is not where the index says": (
        lambda f: index(f, (f / INDEX).read_text().replace('"scale": ', f'"lost": "{SECOND}", "scale": ')),
        f"{SECOND} has no lost, which {INDEX} names in it",
    ),
    "both forms": (
        lambda f: write_header(f / "model.safetensors", SHAPES), f"it has both model.safetensors and {INDEX}, and "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_named(tmp_path: Path, name: str):
    write_shards(tmp_path, SHAPES, 3)
    damage, said = DAMAGES[name]
    damage(tmp_path)
    (fault,) = read(tmp_path).faults
    assert fault.startswith(said)
    assert ";" in fault  # the remedy


def test_a_file_that_only_the_engine_would_read_is_named(tmp_path: Path):
    write_header(tmp_path / "model.safetensors", SHAPES)
    write_header(tmp_path / "consolidated.safetensors", SHAPES)  # which no one reads
    assert read(tmp_path).faults == ()
    write_header(tmp_path / "old.safetensors", SHAPES)
    assert read(tmp_path).faults == (
        "it has old.safetensors beside model.safetensors, and vLLM would read both; remove old.safetensors",
    )


def test_every_damaged_file_is_named(tmp_path: Path):
    first, _, third = write_shards(tmp_path, SHAPES, 3)
    first.unlink()
    cut(third, 1)
    found = read(tmp_path)
    assert [fault.split(".")[0] for fault in found.faults] == [first.stem, third.stem]
    assert found.shapes.keys() == set(sorted(SHAPES)[1::3])


class Info:
    dtype, shape = "F32", [2, 3]


def test_headers_on_the_hub_are_asked_of_its_client(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub.errors import SafetensorsParsingError

    asked: list[tuple[str, str]] = []

    def parse(name: str, file: str) -> Any:
        asked.append((name, file))
        if file == "b.safetensors":
            raise SafetensorsParsingError("no header")
        return type("File", (), {"tensors": {f"in {file}": Info}})

    monkeypatch.setattr("huggingface_hub.parse_safetensors_file_metadata", parse)
    listed = {"in a.safetensors": "a.safetensors", "x": "b.safetensors", "y": "c.safetensors"}
    names = ["a.safetensors", "b.safetensors", INDEX]
    found = hub_headers("owner/model", names, json.dumps({"weight_map": listed}).encode())
    assert (found.shapes, found.types) == ({"in a.safetensors": (2, 3)}, {"in a.safetensors": "F32"})
    assert sorted(asked) == [("owner/model", "a.safetensors"), ("owner/model", "b.safetensors")]
    assert found.faults == (
        "b.safetensors is damaged (no header); ask its owner to upload it again",
        f"c.safetensors, which its {INDEX} names, is missing; ask its owner to upload it",
    )
    assert hub_headers("owner/model", ["model.safetensors", "onnx/x.safetensors"], None) == headers.Headers(
        {"in model.safetensors": (2, 3)}, {"in model.safetensors": "F32"}, ()
    )
