"""An object store that throttles, fails, breaks connections off, is away or refuses."""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from s3_server import BUCKET, Door, door, empty, names

from selfreward_ray.models.fetch import fetch, ignore_progress
from selfreward_ray.reporting import silence
from selfreward_ray.store import lease, object_store
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import leased
from selfreward_ray.store.object_store import remedy, was_waited_for

pytestmark = pytest.mark.engines
MINE = f"{BUCKET}/mine"
BIG = os.urandom(1024) * (11 * 1024)
"""More than a part of an upload."""


@pytest.fixture
def store(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """A way to a bucket with some objects, for a client that soon gives up."""
    empty(port)
    monkeypatch.setattr(object_store, "RETRIES", 4)
    with door(port, tmp_path / "requests") as way:
        for name, value in way.environment().items():
            monkeypatch.setenv(name, value)
        mine = Folder(f"s3://{MINE}")
        mine.write_bytes("small", b"small")
        mine.write_bytes("big", BIG)
        mine.write_bytes("gone", b"1")
        (mine / "folder" / "deep").write_bytes("x", b"1")
        with mine.writing("rows.parquet") as stream:
            pq.write_table(pa.table({"id": ["a", "b"]}), stream)
        yield way


def streamed(name: str) -> bytes:
    filesystem, path = Folder(f"s3://{MINE}").filesystem()
    with filesystem.open_input_stream(f"{path}/{name}") as stream:
        return b"".join(iter(lambda: stream.read(2**22), b""))


def part_of(name: str) -> bytes:
    filesystem, path = Folder(f"s3://{MINE}").filesystem()
    with filesystem.open_input_file(f"{path}/{name}") as file:
        return bytes(file.read_at(4 * 2**20, 2**20))


def rows() -> int:
    filesystem, path = Folder(f"s3://{MINE}").filesystem()
    return int(pq.read_table(f"{path}/rows.parquet", filesystem=filesystem).num_rows)


def written(name: str, data: bytes) -> bytes:
    Folder(f"s3://{MINE}").write_bytes(name, data)
    return streamed(name)


def copied(name: str) -> bytes:
    filesystem, path = Folder(f"s3://{MINE}").filesystem()
    filesystem.copy_file(f"{path}/{name}", f"{path}/copy")
    return streamed("copy")


def fetched(tmp_path: Path, name: str) -> bytes:
    source = Folder(f"s3://{MINE}")
    (info,) = (info for info in source.infos() if info.base_name == name)
    (tmp_path / "cache").mkdir(exist_ok=True)
    fetch(source.filesystem()[0], [info], tmp_path / "cache", ignore_progress)
    return (tmp_path / "cache" / name).read_bytes()


def held() -> bool:
    with leased(Folder(f"s3://{MINE}/run")) as is_owner:
        return is_owner()


def operations(tmp_path: Path) -> dict[str, tuple[Callable[[], Any], Any]]:
    """What a run asks of a store, and what it is answered."""
    mine = Folder(f"s3://{MINE}")
    return {
        "list": (lambda: len(mine.files(".parquet")), 1),
        "stat": (lambda: mine.is_file("small"), True),
        "read": (lambda: mine.read_bytes("small"), b"small"),
        "read a part": (lambda: part_of("big"), BIG[2**20 : 5 * 2**20]),
        "read a stream": (lambda: streamed("big"), BIG),
        "read rows": (rows, 2),
        "fetch": (lambda: fetched(tmp_path, "big"), BIG),
        "write": (lambda: written("new", b"new"), b"new"),
        "upload": (lambda: written("new", BIG), BIG),
        "copy": (lambda: copied("small"), b"small"),
        "remove": (lambda: mine.remove("gone"), None),
        "remove a folder": (lambda: (mine / "folder").delete(), None),
        "lease": (held, True),
    }


@pytest.mark.parametrize(
    ("what", "on", "times"),
    [
        ("answers 503 SlowDown", "", 3),
        ("answers 500 InternalError", "", 1),
        ("gone", "", 3),
        ("cut", "GET", 2),
        ("lost", "PUT", 1),
    ],
)
def test_what_passes_is_waited_for(store: Door, port: int, tmp_path: Path, what: str, on: str, times: int):
    for name, (operation, result) in operations(tmp_path).items():
        store.fails(what, on, times)
        assert (name, operation()) == (name, result)
    left = [name for name in names(port) if not name.endswith("/")]
    assert left == [f"mine/{name}" for name in ("big", "copy", "new", "rows.parquet", "small")]


@pytest.mark.parametrize("what", ["gone", "answers 503 SlowDown"])
def test_a_store_that_stays_away_ends_each_operation_and_loses_nothing(
    store: Door, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    monkeypatch.setattr(object_store, "RETRIES", 1)
    monkeypatch.setattr(object_store, "_FEW", 0)
    before = names(port)
    for name, (operation, _) in operations(tmp_path).items():
        store.fails(what)
        asked = len(store.requests())
        with pytest.raises(OSError) as raised:  # noqa: PT011 - the test looks into it
            operation()
        assert (name, remedy(raised.value)) == (name, "check the network and the store")
        assert len(store.requests()) - asked <= 8
    store.fails("nothing", times=0)
    assert names(port) == before
    assert [operation() for operation, _ in operations(tmp_path).values()] == [
        result for _, result in operations(tmp_path).values()
    ]


@pytest.mark.parametrize(
    ("status", "code", "says"), [(403, "AccessDenied", "give credentials"), (400, "ExpiredToken", "renew")]
)
def test_what_is_refused_is_not_asked_again(store: Door, port: int, tmp_path: Path, status: int, code: str, says: str):
    before = names(port)
    store.fails(f"answers {status} {code}")
    for name, (operation, _) in operations(tmp_path).items():
        asked = len(store.requests())
        with pytest.raises(OSError) as raised:  # noqa: PT011 - the test looks into it
            operation()
        assert was_waited_for(raised.value), name
        assert len(store.requests()) - asked <= 6, name  # each kind of request once
    with pytest.raises(OSError, match="AWS Error") as raised:
        Folder(f"s3://{MINE}").write_bytes("new", b"new")
    assert str(remedy(raised.value)).startswith(says)
    assert names(port) == before


@pytest.mark.parametrize("size", ["small", "big"])
def test_half_an_answer_is_not_taken_for_all(store: Door, tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch):
    """Its length says more than there is."""
    monkeypatch.setattr(object_store, "RETRIES", 1)
    whole = {"small": b"small", "big": BIG}[size]
    for read in (streamed, Folder(f"s3://{MINE}").read_bytes, lambda name: fetched(tmp_path, name)):
        store.fails("cut", f"GET /{MINE}/{size}")
        with pytest.raises(OSError, match="AWS Error"):
            read(size)
        assert not (tmp_path / "cache" / size).exists()
        store.fails("cut", times=0)
        assert read(size) == whole


def test_a_store_that_never_answers_is_given_up(store: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(object_store, "RETRIES", 0)
    monkeypatch.setattr(object_store, "ANSWER_S", 1.0)
    store.fails("hang")
    begin = time.monotonic()
    with pytest.raises(OSError, match="timeout|too slow") as raised:
        Folder(f"s3://{MINE}").read_bytes("small")
    assert 0.9 < time.monotonic() - begin < 20
    assert remedy(raised.value) == "check the network and the store"


def test_another_process_is_as_patient(store: Door):
    filesystem, path = pickle.loads(pickle.dumps(Folder(f"s3://{MINE}").filesystem()))  # noqa: S301 - our own
    store.fails("answers 503 SlowDown", "", 4)
    assert filesystem.get_file_info(f"{path}/small").size == 5


def test_a_large_object_is_copied_though_the_store_refuses_to(store: Door, port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(object_store, "COPIED_AT_ONCE", len(BIG) - 1)
    monkeypatch.setattr(object_store, "_COPY_BYTES", 2**20)
    filesystem, path = Folder(f"s3://{MINE}").filesystem()
    asked = len(store.requests())
    fs.copy_files(f"{path}/big", f"{path}/copy", source_filesystem=filesystem, destination_filesystem=filesystem)
    assert streamed("copy") == BIG
    assert not any(request["method"] == "PUT" and not request["sent"] for request in store.requests()[asked:])
    store.fails("answers 403 AccessDenied", f"GET /{MINE}/big")
    with pytest.raises(OSError, match="AWS Error"):
        filesystem.copy_file(f"{path}/big", f"{path}/half")
    assert "mine/half" not in names(port)


def test_a_beat_of_the_lease_asks_few_times(store: Door, monkeypatch: pytest.MonkeyPatch):
    """Others take a run over whose process was silent for long."""
    asked = set()
    client = object_store._client

    def noted(*arguments: Any) -> Any:
        asked.add((threading.current_thread() is threading.main_thread(), arguments[2]))
        return client(*arguments)

    monkeypatch.setattr(object_store, "_client", noted)
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    with leased(Folder(f"s3://{MINE}/run")):
        end = time.monotonic() + 10
        while all(in_main for in_main, _ in asked) and time.monotonic() < end:
            time.sleep(0.01)
    assert {times for in_main, times in asked if not in_main} == {object_store._FEW}
    assert (True, 4) in asked


def test_the_log_says_that_a_store_is_waited_for(
    store: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(silence, "SECONDS_BETWEEN_LINES", 0.2)
    monkeypatch.setattr(silence, "_SECONDS_BETWEEN_LOOKS", 0.02)
    store.fails("slow 0.7", "", 1)
    with silence.doing("M2 · pairs"):
        assert Folder(f"s3://{MINE}").is_file("small")
    assert f"{MINE}/small: waiting for the storage to answer  0:00 elapsed" in capsys.readouterr().err
