"""Which cluster is joined, and addresses at which there is none, or none that a command can join."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward_ray.cluster.address import cluster_address
from selfreward_ray.errors import UserError


def answering(reply: bytes) -> Iterator[str]:
    """The address of a server that answers with `reply`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def cluster() -> Iterator[str]:
    yield from answering(b"\0\0\0\4\0\0\0\0\0")


@pytest.fixture
def web_server() -> Iterator[str]:
    yield from answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.fixture
def gone() -> str:
    """The address of a cluster that ended: nobody listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_where_no_cluster_is_refused_at_once(gone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*refused.*unset RAY_ADDRESS"):
        cluster_address()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        *(
            (wrong, "is no address of a Ray cluster: RAY_ADDRESS is HOST:PORT, for example 10.0.0.1:6379 ")
            for wrong in (
                "foo",
                "127.0.0.1",
                ":6379",
                "head:",
                "head:port",
                "head:0",
                "head:65536",
                "redis://head:6379",
            )
        ),
        ("http://head:8265", r"is that of a dashboard, which takes jobs \(`ray job submit --address http://head:8265 "),
        ("https://ray.example", "is that of a dashboard, which takes jobs"),
        ("ray://head:10001", "is that of Ray Client, which cannot run the loop: .* --address http://head:8265 --"),
    ],
)
def test_an_address_that_no_driver_can_join_is_refused_with_the_form_of_one(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"^RAY_ADDRESS={address} {said}"):
        cluster_address()


def test_what_answers_and_is_no_cluster_is_refused(web_server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", web_server)
    with pytest.raises(UserError, match=f"answers at {web_server} is no Ray cluster, but perhaps its dashboard"):
        cluster_address()


def test_a_cluster_with_tls_is_left_to_ray_if_it_takes_connections(web_server: str, monkeypatch: pytest.MonkeyPatch):
    """It answers only to a client with a certificate."""
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_ADDRESS", web_server)
    assert cluster_address() == web_server


def test_a_cluster_that_is_yet_to_be_started_is_at_no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """RAY_ADDRESS=local passes over a cluster that runs here."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("head:6379")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster_address() == "local"


def test_a_cluster_that_answers_is_joined(cluster: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", f" {cluster}\n")
    assert cluster_address() == cluster


def test_a_name_that_no_host_may_have_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "head..example:6379")
    with pytest.raises(UserError, match=r"head\.\.example:6379 takes no connections"):
        cluster_address()


def test_a_cluster_of_this_machine_is_asked_for_and_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match="RAY_ADDRESS=auto: no Ray cluster runs here: start one, or unset it"):
        cluster_address()


def test_what_a_crashed_cluster_left_behind_is_refused_at_once(
    gone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*`ray stop` forgets it"):
        cluster_address()


def test_a_cluster_is_looked_for_where_ray_leaves_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("selfreward_ray.cluster.address._check_alive", lambda address, remedy: None)
    for name in ("ours", "rays"):
        (tmp_path / name / "ray").mkdir(parents=True)
        (tmp_path / name / "ray" / "ray_current_cluster").write_text(f"{name}:6379\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cluster_address() == "local"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "ours"))
    assert cluster_address() == "ours:6379"
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "rays"))
    assert cluster_address() == "rays:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_address() == "10.0.0.1:6379"
