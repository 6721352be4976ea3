"""Arguments shared by several commands."""

from typing import Annotated

import typer


def complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    """Shipped recipes that start with `incomplete`, with summaries. Without any, the shell completes file names."""
    from selfreward_ray.recipe.shipped import shipped_names, shipped_text, summary

    return [(name, summary(shipped_text(name) or "")) for name in shipped_names() if name.startswith(incomplete)]


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe: a YAML file, or a name listed by `selfreward recipe`.",
        autocompletion=complete_recipe,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Recipe fields to change, for example dpo.beta=0.2."),
]
RunDir = Annotated[str, typer.Option("--run-dir", metavar="URI", help="The run's folder: local or object store.")]
Out = Annotated[str, typer.Option("--out", metavar="URI", help="The output folder of this step.")]
TrainingOut = Annotated[
    str, typer.Option("--out", metavar="URI", help="A folder: the model is written to URI/model, the rest beside it.")
]
Model = Annotated[str, typer.Option("--model", metavar="URI", help="The model: folder, hub name or storage URI.")]
Prompts = Annotated[
    str,
    typer.Option("--prompts", metavar="URI", help="A finished propose step, or a file of prompts."),
]
JUDGE_HELP = "The judge: folder, hub name, storage URI, or https://HOST/v1#MODEL for an OpenAI-compatible endpoint."
JudgeModel = Annotated[str, typer.Option("--model", metavar="URI", help=JUDGE_HELP)]
SeedData = Annotated[str, typer.Option("--seed-data", metavar="URI", help="The folder of a finished seed step.")]
