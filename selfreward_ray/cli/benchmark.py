"""The command that measures a model on tasks of lm-eval."""

from typing import Annotated

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import Model, Out, Overrides, RecipeName
from selfreward_ray.cli.running import prepared, run_on_cluster


@app.command()
def benchmark(
    recipe: RecipeName,
    model: Model,
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks", metavar="NAMES", help="Tasks or groups of lm-eval, with commas between; paper: the paper's nine."
        ),
    ],
    out: Out,
    tasks_dir: Annotated[
        str | None,
        typer.Option("--tasks-dir", metavar="DIR", help="A local folder with tasks of your own, in lm-eval's YAML."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Only the first documents of each task, for a trial."),
    ] = None,
    few_shot: Annotated[
        int | None,
        typer.Option("--few-shot", min=0, help="Examples in a prompt, if the task does not fix 0; by default its own."),
    ] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="Write prompts with the model's chat template, as for IFEval.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Step: figures of a model on tasks of lm-eval.

    ARC, GSM8K, MMLU, IFEval and others. Needs the extra lm-eval.
    """
    with prepared(recipe, overrides, "benchmark", out=out, model=model) as loaded:
        from selfreward_ray.evaluation.tasks import task_names
        from selfreward_ray.reporting.benchmark_table import print_benchmark
        from selfreward_ray.steps.benchmark import RESULTS
        from selfreward_ray.steps.benchmark import benchmark as step

        manifest = step(
            loaded,
            model=model,
            tasks=task_names(tasks),
            out=out,
            tasks_dir=tasks_dir,
            limit=limit,
            few_shot=few_shot,
            chat_template=chat_template,
            run=run_on_cluster,
        )
        print_benchmark(manifest.metrics["figures"])
    typer.echo(f"lm-eval's results: {out.rstrip('/')}/{RESULTS}")
