import socket
from pathlib import Path

import pytest

from selfreward_ray.cluster.session import joined
from selfreward_ray.errors import UserError


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a cluster that ended: nobody listens there."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_where_no_cluster_is_refused_at_once(gone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*refused.*unset RAY_ADDRESS"), joined():
        pass


def test_a_port_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:port")
    with pytest.raises(UserError, match="head:port takes no connections"), joined():
        pass


def test_a_cluster_of_this_machine_is_asked_for_and_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    with pytest.raises(UserError, match="RAY_ADDRESS=auto: no Ray cluster runs here"), joined():
        pass


def test_what_a_crashed_cluster_left_behind_is_refused_at_once(
    gone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    with pytest.raises(UserError, match=f"{gone} takes no connections .*`ray stop` forgets it"), joined():
        pass
