"""Errors that a user can correct. The command shows them as one message without a traceback."""

import yaml

YAML_FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""Exceptions that PyYAML raises for invalid text: its own, and Python's for an invalid date, number or tag, or for too
deep a nesting."""


class UserError(ValueError):
    """Wrong input, or a run that cannot go on. The message names the problem and the remedy."""


class Final(UserError):
    """An error that all workers of a training have at the same point, and would have again after a restart."""
