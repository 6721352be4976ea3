"""Where the Ray cluster is that a command joins, and whether one answers there. Ray itself would retry for minutes."""

import os
import re
import socket
from pathlib import Path

from selfreward_ray.errors import UserError

LOCAL = "local"
"""The address of a cluster that is yet to be started on this machine."""
_FORM = "RAY_ADDRESS is HOST:PORT, for example 10.0.0.1:6379 (6379 is the port of `ray start --head`)"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = b"\4"
"""The type of the frame with which a server of HTTP/2, as Ray's are, begins its answer."""
_PATIENCE_S = 10


def temporary_folder() -> str:
    """The folder in which Ray makes its own."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own order


def cluster_address() -> str:
    """The address at which `ray.init` would find a cluster: RAY_ADDRESS, or that of the last `ray start` here.

    `LOCAL` if there is none. Raises `UserError` for an address that no driver can join, and where no cluster answers.
    """
    wanted = os.environ.get("RAY_ADDRESS", "").strip()
    if wanted == LOCAL:
        return LOCAL
    if wanted and wanted != "auto":
        _check_form(wanted)
        _check_alive(wanted, "start it, or unset RAY_ADDRESS to work on this machine alone")
        return wanted
    left = Path(temporary_folder()) / "ray" / "ray_current_cluster"
    if left.exists():
        found = left.read_text(encoding="utf-8").strip()
        _check_alive(found, "an earlier `ray start` left its address on this machine, and `ray stop` forgets it")
        return found
    if wanted:
        raise UserError(f"RAY_ADDRESS={wanted}: no Ray cluster runs here: start one, or unset it")
    return LOCAL


def _check_form(address: str) -> None:
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "ray":
        raise UserError(
            f"RAY_ADDRESS={address} is that of Ray Client, which cannot run the loop: submit the command as a job "
            f"(`ray job submit --address http://{rest.partition(':')[0]}:8265 -- python jobs/run.py …`)"
        )
    if separator and scheme in ("http", "https"):
        raise UserError(
            f"RAY_ADDRESS={address} is that of a dashboard, which takes jobs (`ray job submit --address {address} -- "
            f"python jobs/run.py …`); for a command that is started here, {_FORM}"
        )
    host, _, port = address.rpartition(":")
    if separator or not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
        raise UserError(f"RAY_ADDRESS={address} is no address of a Ray cluster: {_FORM}, or unset it")


def _check_alive(address: str, remedy: str) -> None:
    """Raise `UserError` with `remedy` if no Ray cluster answers at `address`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S) as connection:
            # With TLS it answers only to a client with a certificate, which Ray's own will be.
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.sendall(_HTTP2_PREFACE)
                spoken = connection.recv(9, socket.MSG_WAITALL)[3:4] == _SETTINGS
            else:
                spoken = True
    except (OSError, ValueError) as error:  # ValueError: the host has a label that no name may have
        raise UserError(f"the Ray cluster at {address} takes no connections ({error}): {remedy}") from error
    if not spoken:
        raise UserError(
            f"what answers at {address} is no Ray cluster, but perhaps its dashboard: give the port of `ray start "
            "--head`, which is 6379 if it was given none"
        )
