"""The `selfreward` command, with one file per group of subcommands. Arguments are parsed before heavy imports."""

from selfreward_ray.cli import checking, runs, init, recipes, steps, agreement, benchmark, results  # noqa: F401, I001 (the order of the help text)
from selfreward_ray.cli.app import app as app, main as main
