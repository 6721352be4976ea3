"""Errors that a user can correct. The command shows them as one message without a traceback."""


class UserError(ValueError):
    """Wrong input, or a run that cannot go on. The message names the problem and the remedy."""


class Final(UserError):
    """An error that all workers of a training have at the same point, and would have again after a restart."""
