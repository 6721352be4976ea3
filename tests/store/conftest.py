"""What the tests of object stores share."""

from collections.abc import Iterator

import pytest
from s3_server import server


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of an S3 server."""
    with server(tmp_path_factory.mktemp("s3") / "log") as port:
        yield port
