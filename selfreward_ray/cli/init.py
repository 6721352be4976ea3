"""The command that writes a first recipe."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.running import explained
from selfreward_ray.errors import UserError


@app.command()
def init(
    model: Annotated[str, typer.Option("--model", metavar="URI", help="M0: folder, hub name or storage URI.")],
    data: Annotated[str, typer.Option("--data", metavar="URI", help="Ranked conversations, as seed_data.source.")],
    machine: Annotated[
        Literal["cpu", "1gpu", "8gpu"], typer.Option("--machine", help="CPU cores, one GPU, or eight of 80 GB.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The recipe to write.")] = Path("recipe.yaml"),
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="How the data are read: fields of seed_data, such as columns."),
    ] = None,
) -> None:
    """Write a recipe with comments for your model and data."""
    with explained():
        from selfreward_ray.recipe.text import parse_recipe, reading_fields
        from selfreward_ray.reporting.silence import doing
        from selfreward_ray.starter.sizes import data_size, model_size
        from selfreward_ray.starter.text import starter_text
        from selfreward_ray.yaml_text import load_yaml

        if out.exists():
            raise UserError(f"{out} exists; choose another --out, or remove it")
        with doing("looking at the model and the data"):
            fields = reading_fields(overrides or [])
            size, rows = model_size(model), data_size(data, fields)
        text = starter_text(model, data, machine, size, rows, fields)
        parse_recipe(load_yaml(text))
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    typer.echo(f"{out}: look at it, then `selfreward check {out}`")
