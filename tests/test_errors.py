"""Which errors a retry cannot mend."""

import errno

import pyarrow as pa
import pytest

from selfreward_ray.errors import Final, UserError, recurs


@pytest.mark.parametrize(
    "error",
    [
        UserError("no such model"),
        Final("diverged"),
        *(OSError(number, "said") for number in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR)),
        PermissionError(errno.EPERM, "said"),
        OSError("When creating key 'a' in bucket 'b': AWS Error ACCESS_DENIED during PutObject operation: no"),
        OSError("When listing objects under key 'a': AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: no"),
        TypeError("not a Prompt"),
        AttributeError("no such thing"),
    ],
)
def test_what_is_found_again_at_the_next_attempt(error: Exception):
    assert recurs(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("connection reset"),
        OSError(errno.EIO, "said"),
        OSError(errno.ESTALE, "said"),
        FileNotFoundError(errno.ENOENT, "said"),  # a network disk may show a new file late
        TimeoutError("said"),
        OSError("When writing: AWS Error SLOW_DOWN during UploadPart operation: slow down"),
        OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7"),
        RuntimeError("CUDA out of memory"),
        pa.ArrowInvalid("half a file"),
    ],
)
def test_what_may_be_otherwise_the_next_time(error: Exception):
    assert not recurs(error)
