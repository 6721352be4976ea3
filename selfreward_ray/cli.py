"""The `selfreward` command. Arguments are parsed before anything heavy is imported."""

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

if TYPE_CHECKING:
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.store.manifest import Manifest

app = typer.Typer(
    help="Self-rewarding language models on Ray: a model answers, judges its own answers, and learns from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe: YAML file, see jobs/recipes/.")]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads it at run time)
    typer.Argument(metavar="KEY=VALUE", help="Recipe fields to change, for example dpo.beta=0.2."),
]
RunDir = Annotated[str, typer.Option("--run-dir", metavar="URI", help="The run's folder: local or object store.")]
Out = Annotated[str, typer.Option("--out", metavar="URI", help="The folder that this step writes.")]
Model = Annotated[str, typer.Option("--model", metavar="URI", help="The model: folder, hub name or storage URI.")]
Prompts = Annotated[str, typer.Option("--prompts", metavar="URI", help="The folder of a finished propose step.")]
Made = Annotated[
    str, typer.Option("--out", metavar="URI", help="A folder: the model is written to URI/model, the rest beside it.")
]
SeedData = Annotated[str, typer.Option("--seed-data", metavar="URI", help="The folder of a finished seed step.")]


@app.command()
def run(recipe: RecipeFile, run_dir: RunDir, overrides: Overrides = None) -> None:
    """Run a whole recipe, M0 to the last model; goes on where an earlier attempt stopped."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray import loop

        loop.run(loaded, run_dir)
    typer.echo(f"report: {run_dir.rstrip('/')}/report.html")


@app.command()
def iterate(run_dir: RunDir) -> None:
    """Run one iteration of a run: its next one, M(t) to M(t+1), one beyond the recipe's if all are done."""
    with _explained(), _cluster():
        from selfreward_ray import loop

        loop.run_next_iteration(run_dir)
    typer.echo(f"report: {run_dir.rstrip('/')}/report.html")


@app.command()
def rehearse(
    recipe: RecipeFile,
    cluster: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--cluster", metavar="FILE", help="A file for `ray up`, whose node types are declared here."),
    ] = None,
    run_dir: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--run-dir", metavar="URI", help="The real run's folder. A local S3 server stands in for a bucket."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Run a recipe's whole loop on this machine, much reduced, on nodes and GPUs that are only declared."""
    from selfreward_ray.recipe.text import load_recipe

    with _explained():
        from selfreward_ray.cluster.rehearsal.rehearse import rehearse as run_rehearsal
        from selfreward_ray.cluster.rehearsal.report import print_rehearsed

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # its cluster ends with it
        found = run_rehearsal(load_recipe(recipe, overrides), cluster, run_dir)
        print_rehearsed(found)
    if found.faulty:
        sys.exit(1)


@app.command()
def proof(
    recipe: RecipeFile,
    run_dir: RunDir,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: the recipe's and those after it.")] = 3,
    controls: Annotated[bool, typer.Option(help="Train and measure the controls too.")] = True,
    overrides: Overrides = None,
) -> None:
    """Whether a recipe in the demo world improves a model: several seeds, controls, and which claims they hold."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.demo.proof.prove import prove

        claims = prove(loaded, run_dir, seeds, controls)
    for claim in claims:
        typer.echo(f"{claim.outcome:<14}  {claim.text}: {claim.figures}")
    typer.echo(f"report: {run_dir.rstrip('/')}/report.html")


@app.command()
def seed(recipe: RecipeFile, out: Out, overrides: Overrides = None) -> None:
    """Step: ranked conversations to instruction rows (IFT), sets for judging (EFT) and held-out sets."""
    with _prepared(recipe, overrides, cluster=False) as loaded:
        from selfreward_ray.steps.seed import seed as step

        _counts(step(loaded, out=out))


@app.command()
def sft(
    recipe: RecipeFile,
    model: Model,
    seed_data: SeedData,
    out: Made,
    eft: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--eft", metavar="URI", help="The folder of a finished EFT step; without it: the baseline."),
    ] = None,
    positives: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--positives", metavar="URI", help="A pair step of the policy positive-only, to train on too."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: supervised fine-tuning, M0 to the baseline or to M1."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.train import sft as step

        _counts(step(loaded, model=model, seed_data=seed_data, eft=eft, positives=positives, out=out))


@app.command()
def verdicts(recipe: RecipeFile, model: Model, seed_data: SeedData, out: Out, overrides: Overrides = None) -> None:
    """Step: a model's verdicts on ranked replies, several samples each, from which eft chooses."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.verdicts import verdicts as step

        _counts(step(loaded, model=model, seed_data=seed_data, out=out))


@app.command()
def eft(
    recipe: RecipeFile,
    seed_data: SeedData,
    out: Out,
    verdicts: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--verdicts", metavar="URI", help="A finished verdicts step; without it: the source's own."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: judging rows (EFT) from the verdicts that agree with the people's ranking."""
    with _prepared(recipe, overrides, cluster=False) as loaded:
        from selfreward_ray.steps.eft import eft as step

        _counts(step(loaded, seed_data=seed_data, verdicts=verdicts, out=out))


@app.command()
def propose(
    recipe: RecipeFile,
    seed_data: SeedData,
    out: Out,
    iteration: Annotated[int, typer.Option(min=1, help="Which iteration the prompts are for; the first makes M2.")] = 1,
    earlier: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--earlier", metavar="URI", help="Prompts of an earlier iteration, not to be repeated."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: the new prompts of one iteration."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.propose import propose as step

        _counts(step(loaded, seed_data=seed_data, iteration=iteration, earlier=earlier or (), out=out))


@app.command()
def respond(recipe: RecipeFile, model: Model, prompts: Prompts, out: Out, overrides: Overrides = None) -> None:
    """Step: candidates for each prompt, each judged several times by the same model."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.respond import respond as step

        _counts(step(loaded, model=model, prompts=prompts, out=out))


@app.command()
def sample(recipe: RecipeFile, model: Model, prompts: Prompts, out: Out, overrides: Overrides = None) -> None:
    """Step: candidates for each prompt, to be judged later or by another model."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.sample import sample as step

        _counts(step(loaded, model=model, prompts=prompts, out=out))


@app.command()
def judge(
    recipe: RecipeFile,
    model: Model,
    replies: Annotated[
        str,
        typer.Option("--replies", metavar="URI", help="A finished sample or respond step, or rows {prompt, reply(s)}."),
    ],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: several verdicts of a model on each of the replies that are there."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.judge import judge as step

        _counts(step(loaded, model=model, replies=replies, out=out))


@app.command()
def pair(
    recipe: RecipeFile,
    judged: Annotated[str, typer.Option("--judged", metavar="URI", help="A finished respond or judge step.")],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: judged candidates to preference pairs."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.pair import pair as step

        _counts(step(loaded, judged=judged, out=out))


@app.command()
def dpo(
    recipe: RecipeFile,
    model: Model,
    pairs: Annotated[str, typer.Option("--pairs", metavar="URI", help="The folder of a finished pair step.")],
    out: Made,
    eft: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--eft", metavar="URI", help="A finished EFT step, whose rows dpo.eft_weight trains on too."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: direct preference optimization, M(t) to M(t+1); the reference is M(t)."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.train import dpo as step

        _counts(step(loaded, model=model, pairs=pairs, eft=eft, out=out))


@app.command()
def evaluate(recipe: RecipeFile, model: Model, seed_data: SeedData, out: Out, overrides: Overrides = None) -> None:
    """Step: a model's answers to held-out prompts, and its agreement with the rankings of their replies."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.steps.evaluate import evaluate as step

        _counts(step(loaded, model=model, seed_data=seed_data, out=out))


@app.command()
def compare(
    recipe: RecipeFile,
    model: Model,
    left: Annotated[
        str,
        typer.Option(
            "--left", metavar="URI", help="A finished evaluate, sample, respond or judge step, or rows {prompt, reply}."
        ),
    ],
    right: Annotated[str, typer.Option("--right", metavar="URI", help="As --left: other replies to those prompts.")],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: two sets of replies to the same prompts head to head, by a judge, in both orders."""
    with _prepared(recipe, overrides) as loaded:
        from selfreward_ray.reporting.terminal import print_outcomes
        from selfreward_ray.steps.compare import compare as step

        manifest = step(loaded, model=model, left=left, right=right, out=out)
        _counts(manifest)
        print_outcomes(manifest.metrics["outcomes"])


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="STEP", help="A step's folder: RUN/M2/pairs, RUN/M1/seed, …")],
    out: Annotated[str, typer.Option("--out", metavar="URI", help="A .parquet or .jsonl file, or hub owner/name.")],
    to: Annotated[
        Optional[Literal["parquet", "jsonl", "hub"]],  # noqa: UP045
        typer.Option("--to", help="The form; without it that of the file's ending."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="On the hub: for everybody to see.")] = False,
) -> None:
    """Write pairs (prompt, chosen, rejected) or examples (messages) in the form that TRL and others read."""
    with _explained():
        from selfreward_ray.steps.export import export as write

        count = write(source, out, to, private=not public)
    typer.echo(f"{count} rows: {out}")


@app.command()
def report(run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")]) -> None:
    """Step: the tables of a run, and RUN/report.html."""
    with _explained():
        from selfreward_ray.steps.report import report as step

        step(run_dir)
    typer.echo(f"report: {run_dir.rstrip('/')}/report.html")


@app.command()
def status(run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.")]) -> None:
    """What of a run is done, with counts, and what is next."""
    with _explained():
        from selfreward_ray.steps.status import print_status

        print_status(run_dir)


def _counts(manifest: "Manifest") -> None:
    from selfreward_ray.reporting.terminal import print_counts

    print_counts(manifest.rows, manifest.dropped)


def main() -> None:
    """Entry point of the `selfreward` command."""
    app()


@contextmanager
def _prepared(recipe: str, overrides: list[str] | None, cluster: bool = True) -> Iterator["Recipe"]:
    """The recipe, checked before a cluster is started for it."""
    from selfreward_ray.recipe.text import load_recipe

    with _explained():
        loaded = load_recipe(recipe, overrides)
        with _cluster() if cluster else nullcontext():
            yield loaded


@contextmanager
def _explained() -> Iterator[None]:
    """What the user can put right is said in one message, without a traceback."""
    from selfreward_ray.errors import UserError

    try:
        yield
    except KeyboardInterrupt:
        _leave("interrupted; finished work is kept, and the same command goes on from here", 130)
    except UserError as error:
        # Raised on another process it arrives wrapped, with that process's traceback in its text.
        _leave(f"error: {getattr(error, 'cause', error)}", 2)
    except OSError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, FileNotFoundError | NotADirectoryError | PermissionError):
            _leave(f"error: {cause}; is that path right, and may this user use it?", 2)
        if cause.errno != errno.ENOSPC:
            raise
        _leave("error: no space left on the disk; finished work is kept: free some, and run the same command again", 2)


def _leave(message: str, code: int) -> None:
    typer.secho(message, err=True, fg=typer.colors.RED if code == 2 else typer.colors.YELLOW)
    sys.exit(code)


@contextmanager
def _cluster() -> Iterator[None]:
    """This process joined to the cluster of a job or of RAY_ADDRESS, or to one of its own on this machine."""
    from selfreward_ray.cluster.session import joined

    with joined():
        # A stopped job gets SIGTERM; it ends as Ctrl-C does, and says so. `ray.init` has set a handler of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield


if __name__ == "__main__":
    main()
