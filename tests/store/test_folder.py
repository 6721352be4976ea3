import gc
import re
from pathlib import Path

import pytest
from pyarrow import fs
from stores import Offline

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder, absolute, same_place


@pytest.fixture(params=["path", "file uri", "relative"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder({"path": f"{tmp_path}/a", "file uri": f"file://{tmp_path}/a", "relative": "a"}[request.param])


def test_what_is_written_is_read_and_listed(folder: Folder, tmp_path: Path):
    (folder / "b").write_bytes("two.txt", b"2")
    (folder / "b").write_json("one.json", {"é": [1, None]})
    (folder / "b" / "deep").write_bytes("x", b"")
    assert (tmp_path / "a" / "b" / "two.txt").read_bytes() == b"2"
    assert (folder / "b").read_bytes("two.txt") == b"2"
    assert (folder / "b").read_json("one.json") == {"é": [1, None]}
    assert [Path(path).name for path in (folder / "b").files()] == ["one.json", "two.txt"]
    assert [Path(path).name for path in (folder / "b").files(".txt")] == ["two.txt"]
    assert (folder / "b").folders() == ["deep"]
    assert [(folder / "b").is_file(name) for name in ("two.txt", "deep", "three.txt")] == [True, False, False]


def test_a_folder_that_is_not_there_is_empty_and_may_be_deleted(folder: Folder):
    assert (folder.files(), folder.folders(), folder.is_file("x")) == ([], [], False)
    folder.delete()


def test_delete_removes_the_folder_and_nothing_beside_it(folder: Folder, tmp_path: Path):
    (folder / "b").write_bytes("x", b"1")
    (tmp_path / "ab").mkdir()
    folder.delete()
    assert [path.name for path in tmp_path.iterdir()] == ["ab"]


def test_emptying_keeps_what_is_named(folder: Folder, tmp_path: Path):
    for name in ("deep", "too"):
        (folder / name).write_bytes("x", b"1")
    folder.write_bytes("x", b"1")
    folder.write_bytes("kept", b"2")
    assert not folder.holds_only({"kept", "too", "x"})
    folder.empty(but={"kept", "too"})
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["kept", "too"]
    assert folder.holds_only({"kept", "too"})
    assert not folder.holds_only({"kept"})
    assert Folder(f"{folder.uri}/nowhere").holds_only(())


def test_writing_replaces_and_leaves_no_partial_file(folder: Folder, tmp_path: Path):
    folder.write_bytes("x", b"long first content")
    folder.write_bytes("x", b"short")
    assert folder.read_bytes("x") == b"short"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


def test_an_object_store_is_written_to_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It shows an object only when it is whole, and a rename would be a copy."""
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, self.uri.removeprefix("mock://")))
    with Folder("mock://a").writing("x") as stream:
        stream.write(b"1")
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
    assert Folder("mock://a").read_bytes("x") == b"1"


def test_an_interrupted_write_leaves_the_old_content(tmp_path: Path):
    folder = Folder(str(tmp_path))
    folder.write_bytes("x", b"old")
    with pytest.raises(TypeError):
        folder.write_bytes("x", "not bytes")
    assert folder.read_bytes("x") == b"old"


@pytest.mark.parametrize("ended_by", [ValueError("third row"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_nothing(folder: Folder, tmp_path: Path, ended_by: BaseException):
    def write() -> None:
        with folder.writing("x") as stream:
            stream.write(b"half")
            raise ended_by

    with pytest.raises(type(ended_by)):
        write()
    assert list((tmp_path / "a").iterdir()) == []


def test_a_name_that_is_a_folder_is_left_alone_and_nothing_beside_it(folder: Folder, tmp_path: Path):
    (folder / "x").write_bytes("in it", b"1")
    with pytest.raises(OSError, match="directory"):
        folder.write_bytes("x", b"2")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
    assert (folder / "x").read_bytes("in it") == b"1"


class Bucket:
    """An object store in a local folder: a name is there once its stream is closed, also after an exception."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.fails_at: set[str] = set()
        """Of ``write``, ``close``."""

    def create_dir(self, path: str, recursive: bool) -> None:
        pass

    def open_output_stream(self, path: str) -> "Upload":
        return Upload(self, path)

    def may(self, what: str) -> None:
        if what in self.fails_at:
            raise OSError(f"no {what}")


class Upload:
    """As pyarrow's: it is closed at its end, whatever the reason, and cannot be given up."""

    def __init__(self, bucket: Bucket, name: str):
        self._bucket, self._name, self._data = bucket, name, b""

    def __del__(self) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        self._data += data[:4]
        self._bucket.may("write")

    def close(self) -> None:
        self._bucket.may("close")
        (self._bucket.folder / self._name).write_bytes(self._data)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    store = Bucket(tmp_path)
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, "."))
    return store


@pytest.mark.parametrize("fails_at", ["write", "close"])
def test_an_upload_that_fails_leaves_the_object_before_it(bucket: Bucket, fails_at: str):
    (bucket.folder / "x").write_bytes(b"old")
    bucket.fails_at = {fails_at}
    with pytest.raises(OSError, match=f"no {fails_at}"):
        Folder("mock://a").write_bytes("x", b"whole")
    bucket.fails_at = set()
    gc.collect()
    assert (bucket.folder / "x").read_bytes() == b"old"


def test_an_unknown_scheme_is_the_users_error():
    with pytest.raises(UserError, match="cannot open storage 'gopher://a/b'"):
        Folder("gopher://a/b").filesystem()


def test_storage_that_can_not_be_reached_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    """As an `OSError`: a worker that meets one is started again, and the network may be back by then."""
    monkeypatch.setattr(fs, "FileSystem", Offline)
    with pytest.raises(FileNotFoundError) as error:
        Folder("s3://b/x").filesystem()
    assert str(error.value) == (
        "cannot open storage 's3://b/x' (does the bucket exist, and can this machine reach it?): "
        "When resolving region for bucket 'b': no network"
    )


@pytest.mark.parametrize("uri", ["file:///data/run#1", "file:///data/run?1", "s3://bucket/run#1"])
def test_a_uri_of_which_a_part_would_be_cut_off_is_refused(uri: str):
    with pytest.raises(UserError, match=rf"cannot open storage '{re.escape(uri)}': .* write %23 for # and %3F for \?"):
        Folder(uri).filesystem()


@pytest.mark.parametrize("uri", ["s3://", "a\0b", ""])
def test_a_uri_that_names_no_place_is_refused(uri: str):
    with pytest.raises(UserError, match="cannot open storage .* names no bucket or folder"):
        Folder(uri).filesystem()


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("~/runs", "only a shell expands ~, and not behind =; write the whole path"),
        ("~ada/runs", "only a shell expands ~ada, "),
        ("s3:bucket/run", "a URI has // behind its scheme, .*; write ./s3:bucket/run for a local path"),
        ("file:run", "a URI has // behind its scheme, "),
    ],
)
def test_what_a_shell_or_a_uri_means_is_no_local_path(uri: str, remedy: str):
    with pytest.raises(UserError, match=f"cannot open '{uri}': {remedy}"):
        Folder(uri).filesystem()


def test_a_path_whose_first_part_is_there_is_what_it_seems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~ada", "run:1"):
        (tmp_path / name).mkdir()
    for name in ("~ada/x", "run:1/M1", "./run:2", str(tmp_path / "a:b")):
        Folder(name).filesystem()


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("S3://b/r", "name a path on a disk, or a URI that begins with s3://, gs:// or abfss://"),
        ("ftp://x/r", "name a path on a disk, or a URI"),
        ("hdfs://127.0.0.1:1/r", "name a path on a disk, or a URI"),
        ("abfss://container/r", "write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"),
        ("s3://b/r?unheard=of", "unheard"),
        ("hf://datasets/a/b", "what is on the hub is named owner/name, without hf://"),
    ],
)
def test_a_uri_that_is_not_understood_has_a_remedy(uri: str, remedy: str):
    with pytest.raises((UserError, FileNotFoundError), match=remedy):
        Folder(uri).filesystem()


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b", "s3://b/", "s3://b/x/", "s3://b/x/y.z", "s3://b/x%20y/z", "s3://b/x%2Fy", "s3://b//x", "s3://b/x//y",
        "s3://b/x/../y", "s3://b/a+b=c", "s3://b/x?region=eu-west-1", "s3://b?region=eu-west-1",
        "gs://b/x/", "gs://b", "gcs://b/x%20y", "gs://anonymous@b/x?retry_limit_seconds=3",
        "abfss://c@a.dfs.core.windows.net/x/y", "abfs://c@a.dfs.core.windows.net/x", "abfss://a.dfs.core.windows.net/c/x",
    ],
)  # fmt: skip
def test_the_path_in_a_bucket_is_what_pyarrow_takes(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # it asks no network for a bucket's region
    assert Folder(uri).filesystem()[1] == fs.FileSystem.from_uri(uri)[1]


@pytest.mark.parametrize("uri", ["s3://b/x y", "s3://b/é"])
def test_a_path_that_is_no_uri_is_refused_behind_a_bucket_that_is_known(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    Folder("s3://b/x").filesystem()
    with pytest.raises(UserError, match="cannot open storage"):
        Folder(uri).filesystem()


def test_one_place_is_the_same_in_every_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    spellings = ["run/M1", "run/M1/", "./run//M1", "run/x/../M1", f"{tmp_path}/run/M1", f"file://{tmp_path}/run/M1"]
    assert {same_place(uri) for uri in spellings} == {str(tmp_path / "run/M1")}
    assert same_place("s3://b/run/") == same_place("s3://b/run") != same_place("s3://b/run/M1")


def test_an_address_of_the_web_is_to_be_downloaded():
    with pytest.raises(UserError, match="'https://example.com/a.jsonl': .*; download it, and name the file"):
        Folder("https://example.com/a.jsonl").filesystem()


def test_a_space_in_a_uri_is_written_as_percent_20(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot open storage 'file:///my run': .*; write %20 for a space"):
        Folder("file:///my run").filesystem()
    Folder(f"file://{tmp_path}/my%20run%231").write_bytes("x", b"1")
    assert (tmp_path / "my run#1" / "x").read_bytes() == b"1"
    Folder(f"{tmp_path}/my%20run#1?").write_bytes("x", b"2")
    assert (tmp_path / "my%20run#1?" / "x").read_bytes() == b"2"


def test_only_local_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = ["runs/1", "/runs/1", "s3://bucket/runs"]
    assert [absolute(name) for name in names] == [f"{tmp_path}/runs/1", "/runs/1", "s3://bucket/runs"]


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "manifest.json").write_text('{"step": "pa')
    with pytest.raises(UserError, match=rf"{tmp_path}/manifest.json is damaged .* remove its folder"):
        Folder(str(tmp_path)).read_json("manifest.json")


def test_a_file_holds_no_folders_and_no_files(tmp_path: Path):
    (tmp_path / "report.html").write_text("page")
    inside = Folder(str(tmp_path / "report.html"))
    assert inside.folders() == list(inside.files()) == []
    assert Folder(str(tmp_path)).folders() == []
