"""What pyarrow's S3 file system does where a write is broken off; `tests/store/test_folder.py` has the other cases."""

import pytest

from selfreward_ray.store.folder import Folder

pytestmark = pytest.mark.engines

PART = 5 * 2**20
"""What S3 takes at the least as a part of an upload: more is sent before the end, less with the end."""


@pytest.mark.parametrize("size", [7, 3 * PART])
def test_a_write_that_is_broken_off_leaves_no_object(bucket: str, size: int):
    folder = Folder(f"{bucket}/broken-{size}")

    def write() -> None:
        with folder.writing("x") as stream:
            stream.write(b"." * size)
            raise ValueError("third row")

    with pytest.raises(ValueError, match="third row") as raised:
        write()
    assert not folder.is_file("x")
    assert not hasattr(raised.value, "__notes__")
    folder.write_bytes("x", b"whole")
    assert folder.read_bytes("x") == b"whole"
