"""The `selfreward` command, with one file per group of subcommands. Arguments are parsed before heavy imports."""

import os  # noqa: I001 (the modules below are in the order of the help text)
import sys
from collections.abc import Sequence

from selfreward_ray.cli import checking, runs, recipes, steps, agreement, benchmark, results  # noqa: F401
from selfreward_ray.cli.app import app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `selfreward` command, with `arguments` instead of those of the process."""
    try:
        app(arguments)
    except SystemExit as leaving:
        _leave_what_hangs(leaving.code if isinstance(leaving.code, int) else 0)
        raise


def _leave_what_hangs(code: int) -> None:
    """End the process at once if a check of a dead storage was given up: pyarrow would wait for it, for minutes."""
    checks = sys.modules.get("selfreward_ray.check.findings")
    if checks is not None and checks.is_looking():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
