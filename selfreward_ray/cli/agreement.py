"""The command that measures how far a judge agrees with human rankings."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from selfreward_ray.cli.app import app
from selfreward_ray.cli.arguments import JUDGE_HELP, Overrides, complete_recipe
from selfreward_ray.cli.running import explained, prepared, show_counts
from selfreward_ray.errors import UserError

_USE = (
    "agreement: give RECIPE with --model, --data and --out to judge ranked replies, or --scores FILE alone for "
    "existing scores; --max-score belongs to --scores"
)


@app.command()
def agreement(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="The recipe whose judge is used.", autocompletion=complete_recipe),
    ] = None,
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="URI", help=JUDGE_HELP),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="URI", help="Human-ranked replies, in any form of seed_data.source."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="URI", help="The output folder: ranked sets with all verdicts."),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option("--scores", metavar="FILE", help="Existing scores: rows {set_id, rank, score}; no engine starts."),
    ] = None,
    max_score: Annotated[
        float | None,
        typer.Option("--max-score", help="With --scores: the best possible score, for 5-best; by default the largest."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the figures to this file."),
    ] = None,
) -> None:
    """Measure a judge's agreement with human rankings."""
    with explained():
        if scores is not None and not any((recipe, overrides, model, data, out)):
            measured = _of_scores(scores, max_score)
        elif recipe and model and data and out and scores is None and max_score is None:
            measured = _of_model(recipe, model, data, out, overrides)
        else:
            raise UserError(_USE)
        if json_file is not None:
            json_file.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def _of_model(recipe: str, model: str, data: str, out: str, overrides: list[str] | None) -> dict[str, Any]:
    with prepared(recipe, overrides, "agreement", out=out, model=model, data=data) as loaded:
        from selfreward_ray.judging.rubric import load_rubric
        from selfreward_ray.reporting.agreement_table import print_agreement
        from selfreward_ray.steps.agreement import agreement as step
        from selfreward_ray.steps.evaluate import agreement_verdicts

        metrics = show_counts(step(loaded, model=model, data=data, out=out)).metrics
        best = load_rubric(loaded.judge.rubric).max_score
        tables = {"with one verdict per reply": metrics["agreement"]}
        if metrics["agreement_of_means"] is not None:
            counted = f"of which {loaded.judge.min_valid} must be readable"
            title = f"with the mean of {agreement_verdicts(loaded)} verdicts per reply, {counted}"
            tables[title] = metrics["agreement_of_means"]
        rule = print_agreement(tables, f"the rubric's best score, {best:g}")
        return {name: metrics[name] for name in ("agreement", "agreement_of_means")} | {"rule": rule}


def _of_scores(source: str, max_score: float | None) -> dict[str, Any]:
    from dataclasses import asdict

    from selfreward_ray.evaluation.scores_file import agreement_of_scores, read_scores
    from selfreward_ray.reporting.agreement_table import print_agreement
    from selfreward_ray.reporting.formatting import amount

    found = read_scores(source)
    best, figures = agreement_of_scores(found, max_score)
    measured = asdict(figures)
    whose = "the largest score of the file" if max_score is None else "the score of --max-score"
    rule = print_agreement({source: measured}, f"{whose}, {best:g}" if best is not None else whose)
    if found.unranked:
        typer.echo(f"left out: {amount(found.unranked, 'row')} without a human rank or score")
    return {"agreement": measured, "max_score": best, "rows_left_out": found.unranked, "rule": rule}
