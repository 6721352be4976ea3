"""What a user can put right: shown as one message without a traceback."""


class UserError(ValueError):
    """Bad input or a run that can not go on; the message names the thing and the remedy."""


class Final(UserError):
    """One that every worker of a training meets at the same point, and would meet again."""
