"""Fetching a model in parts, by one process of a node, and resuming after a process was killed."""

import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stores
from pyarrow import fs
from stores import Store, weight_file

from selfreward_ray.errors import UserError
from selfreward_ray.models import fetch

PART = 1000
SIZES = {"config.json": 40, "a.safetensors": 10_500, "b.safetensors": 3000, "empty.txt": 0}
PARTS = {"config.json": 1, "a.safetensors": 11, "b.safetensors": 3, "empty.txt": 0}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(fetch, "PART_BYTES", PART)
    monkeypatch.setattr(fetch, "_LOOK_AGAIN_S", 0.02)
    (tmp_path / "store").mkdir()
    for name, size in SIZES.items():
        data = weight_file(size, name) if name.endswith(".safetensors") else random.Random(name).randbytes(size)
        (tmp_path / "store" / name).write_bytes(data)
    return Store(tmp_path / "store")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "model"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def start(store: Store, target: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Starts a process that fetches the files of this suffix, two parts at a time."""
    started: list[subprocess.Popen[str]] = []

    def process(suffix: str = "") -> "subprocess.Popen[str]":
        command = [sys.executable, stores.__file__, store.folder, target, PART, 2, suffix]
        started.append(subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.communicate()


def run(store: Store, target: Path) -> list[tuple[int, int]]:
    """Fetch everything here; what was told meanwhile."""
    told: list[tuple[int, int]] = []
    fetch.fetch(store, store.listed(), target, lambda *bytes_: told.append(bytes_))
    return told


def visible(target: Path) -> set[str]:
    return {path.name for path in target.iterdir() if not path.name.startswith(".")}


def check(store: Store, target: Path) -> None:
    """All files, byte for byte, and nothing else but the lock."""
    assert {path.name for path in target.iterdir()} == {*SIZES, ".lock"}
    for name in SIZES:
        assert (target / name).read_bytes() == (store.folder / name).read_bytes(), name


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_files_are_fetched_in_parts_small_ones_first(store: Store, target: Path):
    told = run(store, target)
    check(store, target)
    assert Counter(name for name, _, _ in store.reads()) == {name: count for name, count in PARTS.items() if count}
    assert max(end - begin for _, begin, end in store.reads()) == PART
    total = sum(SIZES.values())
    assert (told[0], told[-1], len(told)) == ((0, total), (total, total), 1 + sum(PARTS.values()))
    assert told == sorted(told)


def test_parts_are_read_side_by_side_and_no_more_than_wanted(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every read waits for three others: one at a time would wait for ever."""
    monkeypatch.setattr(fetch, "PARTS_AT_A_TIME", 4)
    together = threading.Barrier(4)
    reading: list[int] = []

    def wait() -> None:
        reading.append(1)
        together.wait(timeout=30)
        assert len(reading) <= 4
        reading.pop()

    (store.folder / "c.safetensors").write_bytes(weight_file(PART))  # sixteen parts
    monkeypatch.setattr(store, "wait", wait)
    run(store, target)
    assert len(store.reads()) == 16


def test_a_killed_fetch_goes_on_with_the_parts_that_are_missing(
    store: Store, target: Path, start: Callable[..., object]
):
    (store.folder / ".hold").write_text("6")
    killed = start()
    until(lambda: len(store.reads()) >= 6 and "a.safetensors" not in visible(target) and journalled(target) >= 2)
    killed.kill()
    killed.wait()
    (store.folder / ".hold").unlink()
    before = len(store.reads())
    here = sum(SIZES[name] for name in visible(target))
    here += sum(bytes_noted(target, name) for name in SIZES if name not in visible(target))
    assert here >= SIZES["config.json"] + 3 * PART
    told = run(store, target)
    check(store, target)
    again = Counter(store.reads())
    assert told[0] == (here, sum(SIZES.values()))
    # What was read but not noted by the time of the kill: at most the parts in flight.
    assert sum(again.values()) - len(again) <= 2
    assert len(store.reads()) - before <= 11 - 2 + 2


def bytes_noted(target: Path, name: str) -> int:
    """In the journal of a file that is not whole; a line is where a part begins and ends."""
    journal = target / f".{name}.parts"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return sum(int(line.split()[1]) - int(line.split()[0]) for line in lines)


def journalled(target: Path) -> int:
    journal = target / ".a.safetensors.parts"
    return journal.read_text().count("\n") if journal.exists() else 0


def begun(store: Store, target: Path, count: int, journal: bytes, size: int = SIZES["a.safetensors"]) -> None:
    """What a killed fetch leaves of a file of which it had the first `count` bytes."""
    data = (store.folder / "a.safetensors").read_bytes()[:count]
    (target / ".a.safetensors.partial").write_bytes(data + bytes(size - len(data)))
    (target / ".a.safetensors.parts").write_bytes(journal)


def fail_after_eight_reads(store: Store, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that ends with the store's error, for parts that begin when eight others are read.

    Two at a time: when the last of thirteen or more begins, at least eleven are read, however slow the machine is.
    """

    def fail() -> None:
        if len(store.reads()) >= 8:
            raise OSError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "PARTS_AT_A_TIME", 2)
        patch.setattr(store, "wait", fail)
        with pytest.raises(OSError, match="the store is away"):
            run(store, target)


@pytest.mark.parametrize("torn", ["2", "2000 ", "2000 3"])
def test_a_line_that_a_killed_process_left_unfinished_is_not_believed(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch, torn: str
):
    """Nor by the fetch after the next one, which fails, and has written more lines."""
    begun(store, target, 2000, f"0 1000\n1000 2000\n{torn}".encode())

    fail_after_eight_reads(store, target, monkeypatch)
    run(store, target)
    check(store, target)
    read = [begin for name, begin, _ in store.reads() if name == "a.safetensors"]
    assert sorted(read) == list(range(2000, 10_500, PART))


@pytest.mark.parametrize(
    "line", [b"garbage", b"", b"0 1000 5", bytes(9), b"\xff\xfe", b"-1 5", b"0 10500", b"2500 3500", b"2000 99999"]
)
def test_a_line_that_names_no_part_of_the_file_is_not_believed(store: Store, target: Path, line: bytes):
    begun(store, target, 2000, b"0 1000\n" + line + b"\n1000 2000\n")
    assert run(store, target)[0] == (2000, sum(SIZES.values()))
    check(store, target)


@pytest.mark.parametrize("size", [0, 10_499, 10_501])
def test_a_journal_beside_a_file_of_another_size_is_not_believed(store: Store, target: Path, size: int):
    begun(store, target, 0, b"0 1000\n", size)
    assert run(store, target)[0] == (0, sum(SIZES.values()))
    check(store, target)


def test_a_journal_that_a_killed_process_left_beside_the_whole_file_is_removed(store: Store, target: Path):
    shutil.copy2(store.folder / "b.safetensors", target)
    (target / ".b.safetensors.parts").write_text("0 1000\n1000 2000\n2000 3000\n")
    assert run(store, target)[0] == (3000, sum(SIZES.values()))
    check(store, target)


def test_a_journal_without_its_file_is_not_believed(store: Store, target: Path):
    (target / ".a.safetensors.parts").write_text("0 1000\n")
    run(store, target)
    check(store, target)


def test_one_process_fetches_and_the_others_wait_and_see_how_far_it_is(
    store: Store, target: Path, start: Callable[..., "subprocess.Popen[str]"]
):
    (store.folder / ".hold").write_text("6")
    first = start()
    until(lambda: len(store.reads()) >= 6)
    told: list[tuple[int, int]] = []
    waiting = [start(), start()]
    thread = threading.Thread(target=lambda: told.extend(run(store, target)))
    thread.start()
    time.sleep(0.5)
    (store.folder / ".hold").unlink()
    for process in (first, *waiting):
        assert process.wait(30) == 0
    thread.join()
    check(store, target)
    assert len(store.reads()) == sum(PARTS.values())  # nobody read a part twice
    assert 4000 < told[0][0] < sum(SIZES.values())


def test_when_the_one_that_fetches_dies_one_that_waits_goes_on(
    store: Store, target: Path, start: Callable[..., "subprocess.Popen[str]"]
):
    (store.folder / ".hold").write_text("6")
    first = start()
    until(lambda: len(store.reads()) >= 6)
    second = start()
    assert second.stdout is not None
    second.stdout.readline()  # it waits, and tells so
    first.kill()
    (store.folder / ".hold").unlink()
    assert second.wait(30) == 0
    check(store, target)
    assert len(store.reads()) <= sum(PARTS.values()) + 2


def test_who_wants_the_configuration_does_not_wait_for_the_weights(
    store: Store, target: Path, start: Callable[..., "subprocess.Popen[str]"]
):
    (store.folder / ".hold").write_text("6")
    start()
    until(lambda: len(store.reads()) >= 6)
    assert start(".json").wait(30) == 0
    assert "a.safetensors" not in visible(target)


def test_a_failed_read_leaves_no_file_under_its_name_and_costs_its_part_alone(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch
):
    fail_after_eight_reads(store, target, monkeypatch)
    assert "a.safetensors" not in visible(target)
    run(store, target)
    check(store, target)
    assert len(store.reads()) == sum(PARTS.values())


def test_a_file_that_changes_meanwhile_is_not_published(store: Store, target: Path, monkeypatch: pytest.MonkeyPatch):
    listed = store.listed()
    os.utime(store.folder / "a.safetensors", ns=(1, 1))
    with pytest.raises(OSError, match=r"a\.safetensors was changed while it was fetched"):
        fetch.fetch(store, listed, target, fetch.ignore_progress)
    assert "a.safetensors" not in visible(target)
    run(store, target)
    check(store, target)


def test_a_disk_that_is_too_small_is_named_before_anything_is_read(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        UserError, match=r"not enough disk space for \S+ \(\S+ \w+\) in \S+model: No space .* SELFREWARD"
    ):
        run(store, target)
    assert store.reads() == []


def test_a_short_answer_is_an_error(store: Store, target: Path):
    listed = store.listed()
    (store.folder / "b.safetensors").write_bytes(b"short")
    with pytest.raises(OSError, match=r"storage returned \d bytes of b\.safetensors at offset \d+ instead of 1000"):
        fetch.fetch(store, listed, target, fetch.ignore_progress)
    assert "b.safetensors" not in visible(target)


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def longer(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"0")


def written_to(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"12345")


def lost_in_a_power_cut(file: Path) -> None:
    """The disk has its name, size and time, and not its bytes."""
    before = file.stat().st_mtime_ns
    file.write_bytes(bytes(file.stat().st_size))
    os.utime(file, ns=(before, before))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a.safetensors", cut_off),
        ("a.safetensors", longer),
        ("a.safetensors", written_to),
        ("a.safetensors", lost_in_a_power_cut),
        ("config.json", cut_off),
        ("config.json", written_to),
    ],
)
def test_a_copy_that_was_damaged_is_fetched_again_and_no_other(
    store: Store, target: Path, name: str, damage: Callable[[Path], None]
):
    for stored in store.folder.iterdir():
        os.utime(stored, (1e9, 1e9))
    run(store, target)
    before = len(store.reads())
    damage(target / name)
    run(store, target)
    check(store, target)
    assert {read for read, _, _ in store.reads()[before:]} == {name}
    run(store, target)
    assert len(store.reads()) == before + PARTS[name]


def test_a_damaged_copy_that_another_process_removes_meanwhile_is_fetched_again(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between a look at its size and one at its header."""
    run(store, target)
    look = fetch.check_header

    def removed(file: Path, name: str) -> None:
        if file == target / "b.safetensors" and len(store.reads()) == sum(PARTS.values()):
            file.unlink()
        look(file, name)

    monkeypatch.setattr(fetch, "check_header", removed)
    run(store, target)
    check(store, target)


def test_a_storage_that_knows_no_times_is_read(store: Store, target: Path, monkeypatch: pytest.MonkeyPatch):
    infos = [fs.FileInfo(i.path, type=i.type, size=i.size) for i in store.listed()]
    monkeypatch.setattr(store, "get_file_info", {i.path: i for i in infos}.__getitem__)
    for _ in range(2):
        fetch.fetch(store, infos, target, fetch.ignore_progress)
        check(store, target)
    assert len(store.reads()) == sum(PARTS.values())


def test_times_that_a_listing_gives_more_precisely_are_the_same(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch
):
    """Milliseconds in a listing, and seconds where an object is asked for, as MinIO answers."""
    for stored in store.folder.iterdir():
        os.utime(stored, ns=(0, 1_700_000_000_987_000_000))
    look = store.get_file_info

    def in_seconds(path: str) -> fs.FileInfo:
        info = look(path)
        return fs.FileInfo(path, type=info.type, size=info.size, mtime_ns=info.mtime_ns // 10**9 * 10**9)

    monkeypatch.setattr(store, "get_file_info", in_seconds)
    run(store, target)
    check(store, target)


def test_of_two_processes_that_find_a_damaged_copy_one_fetches_it(
    store: Store, target: Path, start: Callable[..., "subprocess.Popen[str]"]
):
    run(store, target)
    before = len(store.reads())
    lost_in_a_power_cut(target / "a.safetensors")
    (store.folder / ".hold").write_text(str(before + 6))
    waiting = [start(), start()]
    until(lambda: len(store.reads()) >= before + 6)
    (store.folder / ".hold").unlink()
    assert [process.wait(30) for process in waiting] == [0, 0]
    check(store, target)
    assert len(store.reads()) == before + PARTS["a.safetensors"]


@pytest.mark.parametrize("content", [b"", bytes(3000), b"version https://git-lfs.github.com/spec/v1", b"\xff" * 3000])
def test_a_weight_file_that_is_stored_in_a_damaged_form_is_named(store: Store, target: Path, content: bytes):
    (store.folder / "b.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"^b\.safetensors is stored in a damaged form: b\.safetensors is .*; "):
        run(store, target)
    assert not {name for name in os.listdir(target) if "b.safetensors" in name and not name.endswith(".parts")}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile_is_named_and_the_fetch_goes_on_later(
    store: Store, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    """Room was there, but others took it, as where a disk cannot keep room for a file."""
    write = os.pwrite

    def full(file: int, data: memoryview, offset: int) -> int:
        if offset >= 5 * PART:
            raise OSError(code, os.strerror(code))
        return write(file, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(
            UserError, match=f"not enough disk space for a.safetensors .*: {os.strerror(code)}; free some"
        ):
            run(store, target)
    assert "a.safetensors" not in visible(target)
    run(store, target)
    check(store, target)
