"""A real Ray cluster on loopback, jobs submitted to it as a user does, and an object store that it can reach."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty bucket of an S3 server on loopback, which every process started from here finds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    server = subprocess.Popen([BIN / "moto_server", "-p", str(port)], stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SELFREWARD_CACHE": str(tmp_path_factory.mktemp("cache")),
        }.items():
            patch.setenv(name, value)
        try:
            _create(f"{url}/runs", server)
            yield "s3://runs"
        finally:
            server.kill()
            log.close()


def _create(bucket: str, server: subprocess.Popen[bytes]) -> None:
    """As soon as the server answers."""
    end = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"))  # noqa: S310 - loopback
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the S3 server does not answer, or ended with status {server.returncode}")


@pytest.fixture(scope="session")
def submit(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Iterator[Callable[..., str]]:
    """Runs ``jobs/SCRIPT`` with arguments as a job of one `ray start --head`; returns what it printed."""
    port, dashboard = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # no other node is there to take work over
    # Blocked, it ends with its own processes: `ray stop` would end every other cluster of this machine as well.
    head = [
        "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
        f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}",
        f"--temp-dir={tmp_path_factory.mktemp('ray')}",
    ]  # fmt: skip

    def job(script: str, *arguments: str) -> str:
        address = f"http://127.0.0.1:{dashboard}"
        command = [sys.executable, f"jobs/{script}", *arguments]
        done = subprocess.run(
            [BIN / "ray", "job", "submit", f"--address={address}", "--working-dir=.", "--", *command],
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
        return done.stdout

    with subprocess.Popen([BIN / "ray", *head], env=environment, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            printed = ""
            while "will now block" not in printed:
                line = cluster.stdout.readline()
                assert line, f"the cluster did not start: {printed}"
                printed += line
            yield job
        finally:
            cluster.terminate()
