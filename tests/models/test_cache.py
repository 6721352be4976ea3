"""The limit of a node's cache of models, what is removed for another model, and who uses what."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from stores import Store, weight_file

from selfreward_ray.errors import UserError
from selfreward_ray.models import cache
from selfreward_ray.models.fetch import fetch, ignore_progress

SIZE = 10_000
"""Bytes of a model."""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, with room for two models and a half."""
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", "0.025MB")
    monkeypatch.setattr(cache, "PATIENCE_S", 0.2)
    monkeypatch.setattr(cache, "_LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(cache, "_used_here", {})
    yield tmp_path / "cache"
    end()


def end(*folders: Path) -> None:
    """This process uses them no more, as if it had ended; all if none is named."""
    for folder in folders or tuple(cache._used_here):
        cache._used_here.pop(folder).close()


def stored(root: Path, name: str, size: int = SIZE) -> Store:
    folder = root.parent / name
    if not folder.exists():
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weight_file(size, name))
    return Store(folder)


def begin(root: Path, name: str, size: int = SIZE) -> Path:
    """A model that this process is about to fetch."""
    return cache.claim(f"s3://bucket/{name}", stored(root, name, size).listed())


def use(root: Path, name: str, ended: float | None = None) -> Path:
    """A fetched model, which this process uses, or which one that began so many seconds ago has used."""
    folder = begin(root, name)
    store = stored(root, name)
    fetch(store, store.listed(), folder, ignore_progress)
    if ended is not None:
        end(folder)
        os.utime(folder / ".use", (time.time() - ended, time.time() - ended))
    return folder


@pytest.fixture
def disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk with room for three models and a half, and nothing on it but the cache."""
    found = SimpleNamespace(total=3.5 * SIZE)

    def usage(place: Path) -> SimpleNamespace:
        taken = sum(path.stat().st_size for path in place.rglob("*.safetensors"))
        return SimpleNamespace(total=int(found.total), free=int(found.total - taken))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return found


def test_models_of_earlier_iterations_make_room_for_later_ones(root: Path):
    """Each is used by one process, which ends before the next one begins."""
    folders = [use(root, f"m{t}", ended=100 - t) for t in range(1, 7)]
    assert [folder.exists() for folder in folders] == [False] * 4 + [True] * 2
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 25_000


def test_the_least_recently_used_model_is_removed_and_no_more_than_necessary(root: Path):
    first, second = use(root, "m1", ended=100), use(root, "m2", ended=90)
    assert use(root, "m1", ended=80) == first
    use(root, "m3")
    assert (first.exists(), second.exists()) == (True, False)


def test_a_model_that_a_process_uses_stays_until_that_has_ended(root: Path):
    """However it ends."""
    store = stored(root, "m1")
    code = (
        "import sys; from pathlib import Path; from stores import Store; from selfreward_ray.models.cache import claim;"
        "print(claim('s3://bucket/m1', Store(Path(sys.argv[1])).listed()), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, store.folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"},
    ) as process:
        try:
            assert process.stdout is not None
            first = Path(process.stdout.readline().strip())
            fetch(store, store.listed(), first, ignore_progress)
            os.utime(first / ".use", (1, 1))
            second = use(root, "m2", ended=50)
            use(root, "m3", ended=40)
            assert (first.exists(), second.exists()) == (True, False)
            assert not cache.remove(first)
        finally:
            process.kill()
    use(root, "m4")
    assert not first.exists()


def test_of_two_processes_that_use_a_model_each_keeps_it(root: Path):
    first = use(root, "m1")
    os.utime(first / ".use", (1, 1))
    with (first / ".use").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        end(first)
        use(root, "m2", ended=5)
        use(root, "m3", ended=4)
        assert first.exists()
    use(root, "m4")
    assert not first.exists()


def test_a_model_above_the_limit_is_told_before_anything_is_done(root: Path):
    kept = use(root, "m1", ended=100)
    with pytest.raises(
        UserError,
        match=rf"^model 's3://bucket/big' \(26\.0 kB\) exceeds the limit of the cache {root}, 25\.0 kB; raise "
        r"SELFREWARD_CACHE_LIMIT, a size \(200GB\) .* or set SELFREWARD_CACHE to a folder on a larger disk$",
    ):
        begin(root, "big", 26_000)
    assert [folder for folder in root.iterdir() if folder.is_dir()] == [kept]


def test_models_in_use_count_towards_the_limit(root: Path):
    use(root, "m1")
    use(root, "m2")
    with pytest.raises(OSError, match=r"exceeds .*, 25\.0 kB, beside models that are in use \(20\.0 kB\); raise"):
        begin(root, "m3")


def test_room_is_waited_for_while_a_process_ends(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "PATIENCE_S", 60)
    first = use(root, "m1")
    use(root, "m2")
    timer = threading.Timer(0.2, end, [first])
    timer.start()
    use(root, "m3")
    timer.join()
    assert not first.exists()


def test_a_full_disk_is_told_before_anything_is_done(
    root: Path, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    """Models that would not make room enough are not removed in vain."""
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", "1MB")
    kept = use(root, "m1", ended=100)
    disk.total = 12_000
    with pytest.raises(
        UserError,
        match=rf"^not enough disk space for model 's3://bucket/big' \(15\.0 kB\) in {root}: 12\.0 kB would be free "
        "without unused models; free some, or set SELFREWARD_CACHE to a folder on a larger disk$",
    ):
        begin(root, "big", 15_000)
    assert [folder for folder in root.iterdir() if folder.is_dir()] == [kept]


def test_models_are_removed_for_the_free_space_too(root: Path, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", "1MB")
    first, second = use(root, "m1", ended=100), use(root, "m2", ended=90)
    use(root, "m3", ended=80)
    disk.total = 32_000
    begin(root, "m4")
    assert (first.exists(), second.exists()) == (False, True)


def test_room_that_a_process_was_given_is_not_given_again(
    root: Path, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    """Before the first byte of its model is here."""
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", "1MB")
    disk.total = 15_000
    begin(root, "m1")
    with pytest.raises(OSError, match=r"m2' \(10\.0 kB\) in \S+: 5\.0 kB would be free without unused models, beside"):
        begin(root, "m2")
    assert use(root, "m1").exists()  # it is not its own competitor


def test_half_of_the_disk_is_the_default(root: Path, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    for text in ("", " "):
        monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", text)
        with pytest.raises(UserError, match=r"exceeds the limit of the cache \S+, 17\.5 kB;"):
            begin(root, "big", 18_000)
    begin(root, "small", 17_000)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("80%", 800), ("12.5 %", 125), ("200GB", 2e11), ("1.5 TB", 1.5e12), ("7MB", 7e6), ("100%", 1000)],
)
def test_a_limit_is_a_size_or_a_share(monkeypatch: pytest.MonkeyPatch, text: str, limit: float):
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", text)
    assert cache._limit(1000) == limit


@pytest.mark.parametrize("text", ["50", "GB", "101%", "-5GB", "5 apples", "0.5", "1e3GB", "50%%"])
def test_a_limit_that_is_none_is_told(root: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("SELFREWARD_CACHE_LIMIT", text)
    with pytest.raises(UserError, match=f"^SELFREWARD_CACHE_LIMIT is '{text}'; set it to a size, such as 200GB, or a"):
        begin(root, "m1")


def test_folders_of_others_are_neither_counted_nor_removed(root: Path):
    mine = root / "models" / "llama"
    mine.mkdir(parents=True)
    (mine / "model.safetensors").write_bytes(bytes(100_000))
    for t in range(4):
        use(root, f"m{t}", ended=10)
    assert (mine / "model.safetensors").exists()


def test_a_removal_that_is_interrupted_is_finished_later(root: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = use(root, "m1", ended=100), use(root, "m2", ended=90)
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            begin(root, "m3")
    assert {model.folder for model in cache.cached_models()} == {first, second}
    use(root, "m3", ended=80)
    use(root, "m4", ended=70)
    assert not first.exists()


def test_the_cache_may_be_removed_while_it_is_used(root: Path):
    first = use(root, "m1")
    shutil.rmtree(root)
    assert use(root, "m1") == first
    assert (first / "model.safetensors").exists()
    assert [model.in_use for model in cache.cached_models()] == [True]


@pytest.mark.parametrize("content", ["", "{", "null", '{"model": "s3://b/m"}', '{"model": "m", "bytes": "many"}'])
def test_a_damaged_mark_is_no_more_than_an_unknown_model(root: Path, content: str):
    first = use(root, "m1", ended=100)
    (first / ".use").write_text(content)
    (model,) = cache.cached_models()
    assert (model.uri, model.bytes, model.in_use) == ("", SIZE, False)
    use(root, "m2", ended=90)
    use(root, "m3", ended=80)
    assert len(cache.cached_models()) == 2


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/cache/.use")


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system", "/cache")


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("what", "fails", "said"),
    [
        ("pathlib.Path.mkdir", read_only, "/cache: Read-only file system"),
        ("fcntl.flock", no_locks, "/cache: No locks available"),
        ("os.utime", no_space, "/cache/.use: No space left on device"),
    ],
)
def test_a_cache_that_cannot_be_written_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str, fails: Callable[..., None], said: str
):
    store = stored(root, "m1").listed()
    monkeypatch.setattr(what, fails)
    with pytest.raises(
        UserError,
        match=rf"^cannot write into the cache of models: \S*{said}; set SELFREWARD_CACHE to a folder that can",
    ):
        cache.claim("s3://bucket/m1", store)


@pytest.mark.parametrize("inside", ["", "deep"])
def test_a_file_where_the_cache_must_be_is_named(root: Path, monkeypatch: pytest.MonkeyPatch, inside: str):
    root.touch()
    monkeypatch.setenv("SELFREWARD_CACHE", str(root / inside))
    with pytest.raises(UserError, match=rf"{root} is a file; set SELFREWARD_CACHE to a folder$"):
        begin(root, "m1")


def test_without_a_home_folder_the_cache_must_be_named(root: Path, monkeypatch: pytest.MonkeyPatch):
    def homeless(_: Path) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SELFREWARD_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(UserError, match="there is no home folder for the cache of models; set SELFREWARD_CACHE to a f"):
        begin(root, "m1")
