"""Commands for whole runs."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import Overrides, RecipeName, RunDir
from selfreward_ray.cli.running import explained, joined_cluster, show_report_place

if TYPE_CHECKING:
    from selfreward_ray.recipe.schema import Recipe


Remake = Annotated[
    bool, typer.Option("--remake", help="Make finished steps again whose recipe or inputs are others now.")
]


@app.command()
def run(recipe: RecipeName, run_dir: RunDir, overrides: Overrides = None, remake: Remake = False) -> None:
    """Run a whole recipe, M0 to the last model. Continues where an earlier attempt stopped."""
    from selfreward_ray.recipe.text import load_recipe

    with explained():
        _run(load_recipe(recipe, overrides), run_dir, remake=remake)


@app.command()
def iterate(run_dir: RunDir, overrides: Overrides = None, remake: Remake = False) -> None:
    """Run the next iteration of a run, M(t) to M(t+1).

    One beyond the recipe if all are done. KEY=VALUE changes fields that may
    change in a run.
    """
    with explained():
        from selfreward_ray.store.run import RunLayout
        from selfreward_ray.store.run_recipe import next_iteration

        loaded, iteration = next_iteration(RunLayout(run_dir), overrides or [])
        _run(loaded, run_dir, iteration, remake)


def _run(recipe: "Recipe", run_dir: str, iterations: int | None = None, remake: bool = False) -> None:
    """Run a recipe, or its first `iterations`, after a look at whatever may be wrong with it."""
    from selfreward_ray.check.check import check_run, require
    from selfreward_ray.reporting.silence import doing

    with doing("at work"):
        part = recipe if iterations is None else recipe.model_copy(update={"iterations": iterations})
        with doing("checking the recipe and what it names"):
            require(check_run(part, run_dir))
        with joined_cluster():
            from selfreward_ray import loop

            loop.run(recipe, run_dir, iterations, remake)
    show_report_place(run_dir)


@app.command()
def rehearse(
    recipe: RecipeName,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="FILE", help="A cluster file for `ray up`, whose node types are simulated."),
    ] = None,
    run_dir: Annotated[
        str | None,
        typer.Option("--run-dir", metavar="URI", help="The real run's folder. A local S3 server replaces a bucket."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Try a recipe, much reduced, on simulated nodes and GPUs."""
    from selfreward_ray.recipe.text import load_recipe

    with explained():
        from selfreward_ray.cluster.rehearsal.rehearse import rehearse as run_rehearsal
        from selfreward_ray.cluster.rehearsal.report import print_rehearsed

        found = run_rehearsal(load_recipe(recipe, overrides), cluster, run_dir)
        print_rehearsed(found)
    if found.faulty:
        sys.exit(1)


@app.command()
def proof(
    recipe: RecipeName,
    run_dir: RunDir,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: the recipe's seed and the following ones.")] = 3,
    controls: Annotated[bool, typer.Option(help="Train and evaluate the controls too.")] = True,
    overrides: Overrides = None,
) -> None:
    """Test whether the loop improves a model.

    In the demo world: several seeds, controls, and claims with intervals.
    """
    from selfreward_ray.recipe.text import load_recipe

    with explained():
        from selfreward_ray.check.check import check_run, require
        from selfreward_ray.demo.proof.prove import check_provable, prove

        loaded = load_recipe(recipe, overrides)
        check_provable(loaded)  # before a cluster is started for it
        require(check_run(loaded, run_dir))
        with joined_cluster():
            claims = prove(loaded, run_dir, seeds, controls)
    for claim in claims:
        typer.echo(f"{claim.outcome:<14}  {claim.text}: {claim.figures}")
    show_report_place(run_dir)
