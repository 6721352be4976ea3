"""Commands that show or export the results of a run."""

from typing import Annotated, Literal

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.running import explained, show_report_place


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="STEP", help="A step's folder: RUN/M2/pairs, RUN/M3/evaluation, …")],
    out: Annotated[
        str,
        typer.Option("--out", metavar="URI", help="A .parquet or .jsonl file, a benchmark's file, or hub owner/name."),
    ],
    to: Annotated[
        Literal["parquet", "jsonl", "hub", "alpaca-eval", "mt-bench"] | None,
        typer.Option("--to", help="The format; by default that of the file extension."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The name of the model that answered; by default that of its folder."),
    ] = None,
    pick: Annotated[
        Literal["first", "best"] | None,
        typer.Option("--pick", help="One reply to each prompt: the first, or the best by its mean score."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="On the hub: make the data set public.")] = False,
) -> None:
    """Export pairs, examples or answers for other programs.

    Pairs and examples as TRL reads them; answers also as AlpacaEval and
    MT-Bench read them.
    """
    from selfreward_ray.reporting.silence import doing

    with explained(), doing("exporting"):
        from selfreward_ray.reporting.formatting import amount
        from selfreward_ray.steps.export import export as write

        exported = write(source, out, to, private=not public, name=name, pick=pick)
    typer.echo(f"{amount(exported.rows, 'row')}: {out}")
    for note in exported.notes:
        typer.echo(f"note: {note}")


@app.command()
def show(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="M2, M2/q000123, M2/q000123/r2, …/r2/v0, M2/q000123/pair.")],
) -> None:
    """Show where a pair, reply, prompt or model comes from.

    Of a verdict too. What it was made from and by which steps, with their weights, recipe and
    versions, and which model was trained on it.
    """
    with explained():
        from selfreward_ray.steps.show import show as print_lineage

        print_lineage(run_dir, name)


@app.command()
def rows(
    source: Annotated[
        str, typer.Argument(metavar="STEP", help="A step's folder, or one of its tables: RUN/M2/pairs/dropped.")
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only such rows: 'chosen.mean>=4', 'prompt~tea'. May be repeated."),
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="So many rows by chance, others at each call.")] = None,
) -> None:
    """Print the rows of a step readably.

    A condition is FIELD, a sign (= != < <= > >=, or ~ for: contains) and a
    value or null. In a list, one value must fulfil it.
    """
    with explained():
        from selfreward_ray.steps.rows import print_rows

        print_rows(source, where or (), sample)


@app.command()
def report(run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")]) -> None:
    """Step: print a run's tables and write RUN/report.html."""
    from selfreward_ray.reporting.silence import doing

    with explained(), doing("reading the run"):
        from selfreward_ray.steps.report import report as step

        step(run_dir)
    show_report_place(run_dir)


@app.command()
def status(run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")]) -> None:
    """Show who works on a run, and its steps.

    Running, by which process, since when and at which row; or stopped, or
    failed with its last error.
    """
    with explained():
        from selfreward_ray.steps.status import print_status

        print_status(run_dir)


@app.command()
def watch(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks at the folder.")] = 5,
) -> None:
    """Show a run while it is at work, from any machine.

    Its steps, and the metrics of the current one.
    """
    with explained():
        from selfreward_ray.steps.watch import watch as show

        show(run_dir, every)


@app.command()
def gc(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete what a run does not need any more, after asking.

    Checkpoints, token tables and caches of finished trainings, what
    interrupted processes left, and copies of its models on this machine.
    Models, rows and manifests stay.
    """
    with explained():
        from selfreward_ray.steps.gc import collect

        collect(run_dir, lambda question: yes or _confirmed(question))


def _confirmed(question: str) -> bool:
    """The answer at the terminal; no if there is no terminal to ask at."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo()
        return False
