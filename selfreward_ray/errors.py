"""What a user can put right: shown as one message without a traceback."""

import yaml

YAML_FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises: its own errors, and Python's for a date, a number, a tag or a depth that it can not take."""


class UserError(ValueError):
    """Bad input or a run that can not go on; the message names the thing and the remedy."""


class Final(UserError):
    """One that every worker of a training meets at the same point, and would meet again."""
