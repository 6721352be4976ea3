"""The command that checks a run before it begins."""

import sys
import time
from typing import Annotated

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import Overrides, RecipeName
from selfreward_ray.cli.running import explained


@app.command()
def check(
    recipe: RecipeName,
    run_dir: Annotated[
        str | None,
        typer.Option("--run-dir", metavar="URI", help="The run's folder, to check it and the room for it."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="FILE", help="A cluster file for `ray up`, instead of this machine."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Check a run before it begins.

    Recipe, data, models, storage and machine. Starts nothing and writes
    nothing.
    """
    from selfreward_ray.recipe.text import load_recipe

    began = time.monotonic()
    with explained():
        loaded = load_recipe(recipe, overrides)
        from selfreward_ray.check.check import check_run
        from selfreward_ray.reporting.checked import print_checked

        found = check_run(loaded, run_dir, cluster)
        problems = print_checked(found, time.monotonic() - began)
    if problems:
        sys.exit(2)
