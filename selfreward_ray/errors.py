"""Errors that a user can correct. The command shows them as one message without a traceback."""

from selfreward_ray.credentials import masked


class UserError(ValueError):
    """Wrong input, or a run that cannot go on. The message names the problem and the remedy.

    Secrets in it are masked: it may repeat what a user gave or a library said, and stands on terminals and in files.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(masked(str(message)))


class Final(UserError):
    """An error that all workers of a training have at the same point, and would have again after a restart."""
