"""Folders in an object store, on an S3 server that notes each request and refuses what a policy does not allow."""

import gc
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making_steps import Making, one_goes_on
from pyarrow import fs
from s3_server import BUCKET, Door, door, empty, names

from selfreward_ray.check.places import check_writable
from selfreward_ray.errors import UserError
from selfreward_ray.records import Dropped
from selfreward_ray.store import folder as folder_module
from selfreward_ray.store.attempt import ATTEMPT
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.identity import input_fingerprint
from selfreward_ray.store.lease import CLAIMS, leased
from selfreward_ray.store.owner import owned_step
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import finished_ids, read_rows, write_block

pytestmark = pytest.mark.engines
MINE = f"{BUCKET}/team/mine"


@pytest.fixture(params=["all allowed", "one prefix"])
def store(request: pytest.FixtureRequest, port: int, tmp_path: Path) -> Iterator[Door]:
    """A way to an empty bucket, with credentials for all of it or for one folder."""
    prefix = f"{MINE}/" if request.param == "one prefix" else ""
    empty(port)
    with door(port, tmp_path / "requests", prefix) as way, pytest.MonkeyPatch.context() as patch:
        for name, value in way.environment().items():
            patch.setenv(name, value)
        yield way


def step(value: int) -> Step:
    return Step("pair", f"s3://{MINE}", {"value": value}, {})


def test_all_that_a_run_does_is_asked_below_its_folder(store: Door, port: int):
    run = Folder(f"s3://{MINE}")
    first = step(1)
    assert not first.is_done()
    for number in range(3):
        write_block(first.folder, [f"a{number}"], [], Dropped, [Dropped(f"a{number}", "pair", "too long")])
    assert finished_ids(first.folder) == {"a0", "a1", "a2"}
    changed = step(2)
    assert not changed.is_done()  # removes what the first one left
    assert read_rows(changed.folder, Dropped, "dropped") == []
    changed.write([Dropped("b", "pair", "too long")], Dropped, "dropped")
    changed.finish(offered=1)
    assert step(2).is_done()
    assert input_fingerprint(run.uri) == changed.fingerprint
    with leased(run):
        assert list(check_writable(run.uri))
        (run / "M1").write_json("config.json", {})
        assert input_fingerprint(f"{run.uri}/M1") != f"{run.uri}/M1"
        (run / "M1" / "deep").write_bytes("weights", b"1")
        (run / "M1").delete()
        (run / "M1").delete()
    assert {place for place in store.places() if not place.startswith(f"{MINE}/")} == set()
    assert [name for name in names(port) if not name.endswith("/")] == [
        "team/mine/dropped/part-0.parquet", "team/mine/manifest.json", "team/mine/started.json",
    ]  # fmt: skip
    made_up = {name for name in names(port) if name.endswith("/")}
    assert made_up <= {
        "team/mine/", "team/mine/owners/", "team/mine/M1/", "team/mine/M1/deep/", "team/mine/blocks/",
        "team/mine/blocks/dropped/", "team/mine/dropped/",
    }  # fmt: skip


@pytest.fixture
def two(request: pytest.FixtureRequest, store: Door) -> Iterator[list[Making]]:
    makings = [Making(f"s3://{BUCKET}/{request.param}") for _ in range(2)]
    yield makings
    for making in makings:
        making.end()


@pytest.mark.parametrize("two", ["team/mine/out", "team/mine/M2/pairs"], indirect=True)
def test_of_two_at_the_same_moment_one_makes_the_step(store: Door, port: int, two: list[Making]):
    """With credentials for the step's folder alone, or for a folder that might be a run."""
    out = two[0].process.args[-1]
    one_goes_on(two, out)
    kept = [name for name in names(port) if not name.endswith("/")]
    assert [name.removeprefix(out.removeprefix(f"s3://{BUCKET}/")) for name in kept] == [
        "/manifest.json", "/rows/part-0.parquet", "/started.json",
    ]  # fmt: skip


def test_a_step_needs_no_rights_outside_its_folder(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    empty(port)
    with door(port, tmp_path / "requests", f"{MINE}/M2/pairs/") as way:
        for name, value in way.environment().items():
            monkeypatch.setenv(name, value)
        step = Step("propose", f"s3://{MINE}/M2/pairs", {}, {})
        with owned_step(step.folder):
            assert not step.is_done()
        with owned_step(step.folder):  # nothing of the one before is taken for what no step wrote
            assert not Step("propose", step.folder.uri, {"changed": True}, {}).is_done()


@pytest.mark.parametrize("store", ["all allowed"], indirect=True)
def test_a_step_in_a_run_in_a_bucket_is_refused_and_a_finished_one_is_only_looked_at(store: Door):
    run = Folder(f"s3://{MINE}")
    run.write_json(ATTEMPT, {})
    finished = step_in(run / "M2" / "pairs")
    with leased(run):
        with (
            pytest.raises(UserError, match=f"{run.uri} is at work by process .* since 2"),
            owned_step(run / "M3" / "x"),
        ):
            pass
        asked = len(store.requests())
        with owned_step(finished.folder):
            pass
        looks = [request for request in store.requests()[asked:] if f"{MINE}/{CLAIMS}" not in str(request["places"])]
        assert {place for request in looks for place in request["places"]} == {f"{MINE}/M2/pairs/manifest.json"}


def step_in(folder: Folder) -> Step:
    made = Step("propose", folder.uri, {}, {})
    assert not made.is_done()
    made.write([Dropped("b", "propose", "too long")], Dropped, "dropped")
    made.finish(offered=1)
    return made


def test_what_is_written_makes_no_other_objects(store: Door, port: int):
    (Folder(f"s3://{MINE}") / "a" / "b").write_bytes("x", b"1")
    with (Folder(f"s3://{MINE}") / "c").writing("rows") as stream:
        pq.write_table(pa.table({"id": ["a"]}), stream)
    assert names(port) == ["team/mine/a/b/x", "team/mine/c/rows"]
    assert {request["method"] for request in store.requests()} <= {"PUT", "POST"}


def test_copies_make_no_other_objects(store: Door, port: int):
    folder = Folder(f"s3://{MINE}/a")
    (folder / "b").write_bytes("x", b"1")
    filesystem, path = folder.filesystem()
    fs.copy_files(path, f"{path}c", source_filesystem=filesystem, destination_filesystem=filesystem)
    assert names(port) == ["team/mine/a/b/x", "team/mine/ac/b/x"]


def test_ray_train_stores_checkpoints_below_the_folder(store: Door, port: int, tmp_path: Path):
    from ray.train import Checkpoint
    from ray.train.v2._internal.execution.storage import StorageContext

    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "weights").write_bytes(b"1")
    filesystem, path = pickle.loads(pickle.dumps(Folder(f"s3://{MINE}").filesystem()))  # noqa: S301 - for a worker
    context = StorageContext(path, "train", filesystem)
    kept = context.persist_current_checkpoint(Checkpoint(str(tmp_path / "state")), "checkpoint_1")
    assert names(port) == ["team/mine/train/.validate_storage_marker", "team/mine/train/checkpoint_1/weights"]
    with kept.as_directory() as folder:
        assert (Path(folder) / "weights").read_bytes() == b"1"
    assert {place for place in store.places() if not place.startswith(f"{MINE}/")} == set()


def test_what_is_not_there_is_missing_and_not_denied(store: Door):
    folder = Folder(f"s3://{MINE}/a")
    assert not folder.is_file("x")
    folder.write_bytes("y", b"1")
    folder.remove("x")
    with pytest.raises(FileNotFoundError):
        folder.read_bytes("x")
    with pytest.raises(FileNotFoundError):
        folder.filesystem()[0].open_input_file(f"{MINE}/a/x")
    found = folder.filesystem()[0].get_file_info([f"{MINE}/a/x", f"{MINE}/a/y", f"{MINE}/a", MINE, f"{MINE}/b"])
    assert [info.type.name for info in found] == ["NotFound", "File", "Directory", "Directory", "NotFound"]


def test_what_is_denied_is_not_missing(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with door(port, tmp_path / "requests", f"{MINE}/") as way:
        for name, value in way.environment().items():
            monkeypatch.setenv(name, value)
        other = Folder(f"s3://{BUCKET}/team/other")
        for ask in (lambda: other.is_file("x"), lambda: other.read_bytes("x"), other.files, other.delete):
            with pytest.raises(OSError, match="ACCESS_DENIED") as raised:
                ask()
            assert not isinstance(raised.value, FileNotFoundError)


PART = 10 * 2**20
"""What pyarrow sends as a part of an upload: more goes before the end of a write, less with the end."""
WRITES = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(folder_module.__file__).parents[2])!r})
from selfreward_ray.store import folder as folder_module
from selfreward_ray.store.folder import Folder
with Folder("s3://{MINE}").writing("x") as stream:
    stream.write(b"." * int(sys.argv[1]))
    stream.flush()
    exec(sys.argv[2])
    print("not reached")
"""


def content(way: Door, name: str) -> bytes | None:
    """By a client that has no part in the test."""
    client = fs.S3FileSystem(access_key="nobody", secret_key="nothing", region="us-east-1", endpoint_override=way.url)
    try:
        return bytes(client.open_input_stream(f"{MINE}/{name}").read())
    except FileNotFoundError:
        return None


@pytest.fixture
def old(store: Door) -> bytes:
    """What is in the object ``x`` before."""
    Folder(f"s3://{MINE}").write_bytes("x", b"old")
    return b"old"


@pytest.mark.parametrize("store", ["all allowed"], indirect=True)
@pytest.mark.parametrize("size", [7, PART + 7])
@pytest.mark.parametrize("ended_by", [ValueError("third row"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_block_that_raises_changes_nothing(store: Door, old: bytes, size: int, ended_by: BaseException):
    def write(name: str) -> None:
        with Folder(f"s3://{MINE}").writing(name) as stream, pq.ParquetWriter(stream, pa.schema({"id": pa.string()})):
            stream.write(b"." * size)
            raise ended_by

    with pytest.raises(type(ended_by)):
        write("x")
    gc.collect()
    assert content(store, "x") == old
    Folder(f"s3://{MINE}").write_bytes("x", b"new")
    assert content(store, "x") == b"new"
    with pytest.raises(type(ended_by)):
        write("y")
    gc.collect()
    assert content(store, "y") is None


@pytest.mark.parametrize("store", ["all allowed"], indirect=True)
@pytest.mark.parametrize("size", [7, PART + 7])
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("raise ValueError", 1),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_a_process_that_ends_in_a_write_changes_nothing(store: Door, old: bytes, size: int, ending: str, status: int):
    done = subprocess.run([sys.executable, "-c", WRITES, str(size), ending], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert content(store, "x") == old


@pytest.mark.parametrize("store", ["all allowed"], indirect=True)
@pytest.mark.parametrize(
    ("size", "request_it_dies_at"),
    [(7, "PUT"), (PART + 7, "POST"), (PART + 7, "partNumber=2"), (PART + 7, "POST /runs/team/mine/x?uploadId")],
)
def test_a_server_that_dies_in_a_write_changes_nothing(
    store: Door, port: int, tmp_path: Path, old: bytes, size: int, request_it_dies_at: str
):
    store.dies_at(request_it_dies_at)
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        Folder(f"s3://{MINE}").write_bytes("x", b"." * size)
    gc.collect()
    with door(port, tmp_path / "again") as way:
        assert content(way, "x") == old


@pytest.mark.parametrize("store", ["all allowed"], indirect=True)
def test_a_small_object_takes_one_request(store: Door):
    Folder(f"s3://{MINE}").write_bytes("x", b"1")
    assert [request["method"] for request in store.requests()] == ["PUT"]


def test_a_process_has_one_client_for_a_bucket(store: Door, monkeypatch: pytest.MonkeyPatch):
    first, _ = Folder(f"s3://{MINE}").filesystem()
    assert Folder(f"s3://{BUCKET}/other/x/").filesystem()[0] is first
    assert Folder(f"s3://{BUCKET}/other?region=eu-west-1").filesystem()[0] is not first
    assert Folder("s3://another").filesystem()[0] is not first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    assert Folder(f"s3://{MINE}").filesystem()[0] is not first
