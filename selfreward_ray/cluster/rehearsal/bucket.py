"""An S3 server on this machine, in place of the bucket of a run's folder."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pyarrow import fs

from selfreward_ray.cluster.rehearsal.raylets import free_port
from selfreward_ray.errors import UserError

_START_SECONDS = 60


@contextmanager
def bucket(name: str, log: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server on loopback with an empty bucket `name`; yields the environment variables for its clients.

    Raises `UserError` if the server is not installed or does not start.
    """
    if find_spec("moto") is None:
        raise UserError(
            "a run folder in a bucket is rehearsed on a local S3 server: pip install 'selfreward-ray[rehearse]', or "
            "give a local --run-dir"
        )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
        )
        try:
            _create(f"{url}/{name}", server)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "nobody",
                "AWS_SECRET_ACCESS_KEY": "nothing",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            server.kill()
            server.wait()


def save_bucket(uri: str, environment: Mapping[str, str], folder: Path) -> None:
    """Copy everything under `uri`, in the bucket of `environment`, to `folder`. Raises `OSError` if it fails."""
    scheme, address = environment["AWS_ENDPOINT_URL"].split("://")
    store = fs.S3FileSystem(
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_DEFAULT_REGION"],
        scheme=scheme,
        endpoint_override=address,
    )
    folder.mkdir(parents=True, exist_ok=True)
    fs.copy_files(
        uri.removeprefix("s3://"), str(folder), source_filesystem=store, destination_filesystem=fs.LocalFileSystem()
    )


def _create(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Create the bucket as soon as the server answers."""
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"))  # noqa: S310 - loopback
            return
        except urllib.error.HTTPError as error:
            raise UserError(f"the local S3 server did not create the bucket {url} ({error})") from error
        except OSError:
            time.sleep(0.2)
    raise UserError("the local S3 server did not start")
