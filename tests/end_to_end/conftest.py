"""A real Ray cluster on loopback, and jobs submitted to it as a user does."""

import os
import secrets
import socket
import subprocess
import sys
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
def submit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs ``jobs/SCRIPT`` with arguments as a job of one `ray start --head`; returns what it printed."""
    port, dashboard = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    head = [
        "start", "--head", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
        f"--dashboard-port={dashboard}", f"--temp-dir={tmp_path_factory.mktemp('ray')}",
    ]  # fmt: skip

    def ray(*arguments: str) -> str:
        done = subprocess.run(
            [BIN / "ray", *arguments], env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
        return done.stdout

    def job(script: str, *arguments: str) -> str:
        address = f"http://127.0.0.1:{dashboard}"
        command = [sys.executable, f"jobs/{script}", *arguments]
        return ray("job", "submit", f"--address={address}", "--working-dir=.", "--", *command)

    try:
        ray(*head)
        yield job
    finally:
        subprocess.run([BIN / "ray", "stop", "--force"], env=environment, capture_output=True, check=False)
