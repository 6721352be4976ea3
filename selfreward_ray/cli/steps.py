"""Commands for single steps: each reads folders and writes a folder."""

from contextlib import nullcontext
from typing import Annotated

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import (
    JUDGE_HELP,
    JudgeModel,
    Model,
    Out,
    Overrides,
    Prompts,
    RecipeName,
    SeedData,
    TrainingOut,
)
from selfreward_ray.cli.running import fit_on_cluster, joined_cluster, prepared, rounds_on_cluster, show_counts


@app.command()
def seed(recipe: RecipeName, out: Out, overrides: Overrides = None) -> None:
    """Step: split ranked conversations.

    Gives instruction rows (IFT), sets for judging (EFT) and held-out sets.
    """
    with prepared(recipe, overrides, "seed", out=out) as loaded:
        from selfreward_ray.steps.seed import seed as step

        show_counts(step(loaded, out=out))


@app.command()
def sft(
    recipe: RecipeName,
    model: Model,
    seed_data: SeedData,
    out: TrainingOut,
    eft: Annotated[
        str | None,
        typer.Option("--eft", metavar="URI", help="The folder of a finished EFT step; by default none (SFT baseline)."),
    ] = None,
    positives: Annotated[
        str | None,
        typer.Option(
            "--positives", metavar="URI", help="A finished pair step with the policy positive-only, to train on too."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: supervised fine-tuning.

    From M0 to the baseline or to M1.
    """
    with prepared(
        recipe, overrides, "sft", out=out, model=model, seed_data=seed_data, eft=eft, positives=positives
    ) as loaded:
        from selfreward_ray.steps.train import sft as step

        show_counts(
            step(
                loaded, model=model, seed_data=seed_data, eft=eft, positives=positives, out=out, trainer=fit_on_cluster
            )
        )  # fmt: skip


@app.command()
def verdicts(recipe: RecipeName, model: JudgeModel, seed_data: SeedData, out: Out, overrides: Overrides = None) -> None:
    """Step: a model's verdicts on ranked replies.

    Several samples per reply, for the eft step.
    """
    with prepared(recipe, overrides, "verdicts", out=out, model=model, seed_data=seed_data) as loaded:
        from selfreward_ray.steps.verdicts import verdicts as step

        show_counts(step(loaded, model=model, seed_data=seed_data, out=out))


@app.command()
def eft(
    recipe: RecipeName,
    seed_data: SeedData,
    out: Out,
    verdicts: Annotated[
        str | None,
        typer.Option(
            "--verdicts", metavar="URI", help="A finished verdicts step; by default the verdicts of the data source."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: judging rows (EFT) from verdicts.

    Takes the verdicts that agree with the human ranking.
    """
    with prepared(recipe, overrides, "eft", out=out, seed_data=seed_data, verdicts=verdicts) as loaded:
        from selfreward_ray.steps.eft import eft as step

        show_counts(step(loaded, seed_data=seed_data, verdicts=verdicts, out=out))


@app.command()
def propose(
    recipe: RecipeName,
    seed_data: SeedData,
    out: Out,
    iteration: Annotated[
        int, typer.Option(min=1, help="The iteration that uses the prompts; iteration 1 trains M2.")
    ] = 1,
    earlier: Annotated[
        list[str] | None,
        typer.Option("--earlier", metavar="URI", help="Prompts of an earlier iteration, not to be repeated."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Step: new prompts for one iteration."""
    with prepared(
        recipe, overrides, "propose", out=out, seed_data=seed_data, iteration=iteration, earlier=earlier
    ) as loaded:
        from selfreward_ray.steps.proposal_rounds import Proposer
        from selfreward_ray.steps.propose import propose as step

        with Proposer(loaded, open_rounds=rounds_on_cluster) as proposer:
            show_counts(
                step(
                    loaded, seed_data=seed_data, iteration=iteration, earlier=earlier or (), out=out, proposer=proposer
                )
            )


@app.command()
def respond(recipe: RecipeName, model: Model, prompts: Prompts, out: Out, overrides: Overrides = None) -> None:
    """Step: candidates for each prompt, judged.

    Each is judged several times by the same model.
    """
    with prepared(recipe, overrides, "respond", out=out, model=model, prompts=prompts) as loaded:
        from selfreward_ray.steps.respond import respond as step

        show_counts(step(loaded, model=model, prompts=prompts, out=out))


@app.command()
def sample(recipe: RecipeName, model: Model, prompts: Prompts, out: Out, overrides: Overrides = None) -> None:
    """Step: candidates for each prompt, without verdicts.

    To be judged later or by another model.
    """
    with prepared(recipe, overrides, "sample", out=out, model=model, prompts=prompts) as loaded:
        from selfreward_ray.steps.sample import sample as step

        show_counts(step(loaded, model=model, prompts=prompts, out=out))


@app.command()
def answer(
    recipe: RecipeName,
    model: Model,
    questions: Annotated[
        str,
        typer.Option("--questions", metavar="URI", help="Rows {turns}, as in MT-Bench's question.jsonl, or prompts."),
    ],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: answers to the questions of a benchmark.

    One answer to each turn; a later turn follows the answers before it.
    """
    with prepared(recipe, overrides, "answer", out=out, model=model, questions=questions) as loaded:
        from selfreward_ray.steps.answer import answer as step

        show_counts(step(loaded, model=model, questions=questions, out=out))


@app.command()
def judge(
    recipe: RecipeName,
    model: JudgeModel,
    replies: Annotated[
        str,
        typer.Option(
            "--replies", metavar="URI", help="A finished sample, respond or evaluate step, or a file of replies."
        ),
    ],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: several verdicts on each of the given replies."""
    with prepared(recipe, overrides, "judge", out=out, model=model, replies=replies) as loaded:
        from selfreward_ray.steps.judge import judge as step

        show_counts(step(loaded, model=model, replies=replies, out=out))


@app.command()
def pair(
    recipe: RecipeName,
    judged: Annotated[str, typer.Option("--judged", metavar="URI", help="A finished respond or judge step.")],
    out: Out,
    overrides: Overrides = None,
) -> None:
    """Step: preference pairs from judged candidates."""
    with prepared(recipe, overrides, "pair", out=out, judged=judged) as loaded:
        from selfreward_ray.reporting.terminal import print_flags
        from selfreward_ray.steps.pair import pair as step

        print_flags(show_counts(step(loaded, judged=judged, out=out, cluster=joined_cluster)).metrics)


@app.command()
def dpo(
    recipe: RecipeName,
    model: Model,
    pairs: Annotated[str, typer.Option("--pairs", metavar="URI", help="The folder of a finished pair step.")],
    out: TrainingOut,
    eft: Annotated[
        str | None,
        typer.Option("--eft", metavar="URI", help="A finished EFT step, for training with dpo.eft_weight."),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option("--validation", metavar="URI", help="A finished seed step, for training.select=judged."),
    ] = None,
    judge: Annotated[str | None, typer.Option("--judge", metavar="URI", help=JUDGE_HELP)] = None,
    overrides: Overrides = None,
) -> None:
    """Step: direct preference optimization.

    From M(t) to M(t+1); the reference is M(t).
    """
    with prepared(
        recipe, overrides, "dpo", out=out, model=model, pairs=pairs, eft=eft, validation=validation, judge=judge
    ) as loaded:
        from selfreward_ray.steps.train import dpo as step
        from selfreward_ray.training.trainer import fit

        # The judges of snapshots need the cluster of the training, and after it.
        judged = loaded.training.select == "judged"
        with joined_cluster() if judged else nullcontext():
            done = step(
                loaded,
                model=model,
                pairs=pairs,
                eft=eft,
                validation=validation,
                judge=judge,
                out=out,
                trainer=fit if judged else fit_on_cluster,
            )
        show_counts(done)


@app.command()
def evaluate(recipe: RecipeName, model: Model, seed_data: SeedData, out: Out, overrides: Overrides = None) -> None:
    """Step: answers to held-out prompts, and agreement.

    The agreement is that of its verdicts with the human rankings.
    """
    with prepared(recipe, overrides, "evaluate", out=out, model=model, seed_data=seed_data) as loaded:
        from selfreward_ray.steps.evaluate import evaluate as step

        show_counts(step(loaded, model=model, seed_data=seed_data, out=out))


@app.command()
def compare(
    recipe: RecipeName,
    model: JudgeModel,
    left: Annotated[
        str,
        typer.Option(
            "--left", metavar="URI", help="A finished evaluate, sample, respond or judge step, or a file of replies."
        ),
    ],
    right: Annotated[
        str, typer.Option("--right", metavar="URI", help="Like --left: other replies to the same prompts.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="URI", help="The output folder; RUN/comparisons/NAME is shown in the report of that run."
        ),
    ],
    overrides: Overrides = None,
) -> None:
    """Step: compare two sets of replies head to head.

    The replies are to the same prompts; a judge sees them in both orders.
    """
    with prepared(recipe, overrides, "compare", out=out, model=model, left=left, right=right) as loaded:
        from selfreward_ray.reporting.terminal import print_outcomes
        from selfreward_ray.steps.compare import compare as step

        manifest = show_counts(step(loaded, model=model, left=left, right=right, out=out))
        print_outcomes(manifest.metrics["outcomes"])
