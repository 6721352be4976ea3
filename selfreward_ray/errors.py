"""What a user can put right: shown as one message without a traceback."""


class UserError(ValueError):
    """Bad input or a run that can not go on; the message names the thing and the remedy."""
