"""An S3 server on loopback behind `s3_proxy`, each a process of its own: pyarrow may wait for them with the lock held
that all threads of a process need."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "runs"
_PROXY = Path(__file__).with_name("s3_proxy.py")


@dataclass
class Door:
    """One way to the server, and the requests that took it."""

    url: str
    log: Path

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def requests(self) -> list[dict[str, Any]]:
        """Each with ``method``, ``places``, ``query``, ``status``, and the bytes ``sent`` and ``got``."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def places(self) -> set[str]:
        """What was asked for, as ``bucket/key``."""
        return {place for request in self.requests() for place in request["places"]}

    def fails(self, what: str, on: str = "", times: float = 10**9) -> None:
        """From now on the next `times` requests that hold the text `on` go wrong.

        `what` is ``answers STATUS CODE``, ``slow SECONDS``, ``hang``, ``gone`` (the connection ends without an answer,
        and nothing is done), ``lost`` (all is done, and the connection ends), or ``cut`` (it ends within the answer).
        """
        fault = {"id": uuid.uuid4().hex, "what": what, "on": on, "times": times}
        new = Path(f"{self.log}.new")
        new.write_text(json.dumps(fault))
        new.rename(f"{self.log}.fault")

    def dies_at(self, request: str) -> None:
        """The door ends as a killed server does, at the first request that holds the text."""
        Path(f"{self.log}.kill").write_text(request)


@contextmanager
def server(log: Path) -> Iterator[int]:
    """Run an S3 server with the empty bucket `BUCKET`; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output
        )
        try:
            _create(f"http://127.0.0.1:{port}/{BUCKET}", process)
            yield port
        finally:
            process.kill()
            process.wait()


@contextmanager
def door(port: int, log: Path, prefix: str = "") -> Iterator[Door]:
    """A way to the server at `port` that refuses what is outside ``bucket/folder/``, and notes requests in `log`."""
    log.touch()
    command = [sys.executable, str(_PROXY), str(log), str(port), prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Door(f"http://127.0.0.1:{int(process.stdout.readline())}", log)
        finally:
            process.kill()


def empty(port: int) -> None:
    """Leave the server with an empty bucket."""
    for method, path in (("POST", "moto-api/reset"), ("PUT", BUCKET)):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", method=method)
        urllib.request.urlopen(request, data=b"")  # noqa: S310 - loopback


def names(port: int) -> list[str]:
    """The objects of the bucket, also the empty ones that stand for folders."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        region_name="us-east-1",
    )
    return [found["Key"] for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def _create(bucket: str, process: "subprocess.Popen[bytes]") -> None:
    """As soon as the server answers."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"))  # noqa: S310 - loopback
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the S3 server does not answer")
