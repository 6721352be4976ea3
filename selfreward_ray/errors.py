"""Errors that a user can correct, which the command shows as one message without a traceback; and which errors a retry
cannot mend."""

import errno

from selfreward_ray.credentials import masked


class UserError(ValueError):
    """Wrong input, or a run that cannot go on. The message names the problem and the remedy.

    Secrets in it are masked: it may repeat what a user gave or a library said, and stands on terminals and in files.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(masked(str(message)))


class Final(UserError):
    """An error that all workers of a training have at the same point, and would have again after a restart."""


_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    }
)
"""Errors of the operating system that another attempt meets again: storage is full, forbidden, or of another kind."""
_REFUSED = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
"""The same from an object store, as pyarrow names it in its messages."""
_FAULTS = (TypeError, AttributeError, NameError, ImportError, NotImplementedError, AssertionError)
"""Programming errors: the same code fails again."""


def recurs(error: BaseException) -> bool:
    """Whether another attempt would end with this error too. Asked before storage is retried, an engine is restarted
    after a failed start, and a training is restarted.

    True for a `UserError`, for storage that refuses, and for faults of a program. Any other error may be that of a
    network, a process or a node, which is another one the next time.
    """
    if isinstance(error, OSError):
        return error.errno in _REFUSALS or any(word in str(error) for word in _REFUSED)
    return isinstance(error, (UserError, *_FAULTS))
