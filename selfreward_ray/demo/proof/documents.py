"""The documents of a proof: ``report.html``, ``proof.md``, ``proof.json`` and ``table.md``."""

import json
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from selfreward_ray.demo.proof.claims import Claim
from selfreward_ray.demo.proof.controls import FROM_THE_SAME_MODEL
from selfreward_ray.demo.proof.figures import ProofFigures, Scores
from selfreward_ray.demo.proof.sections import TEXT_COLUMNS, Section, main_table, sections, what_varies
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import dump_recipe
from selfreward_ray.reporting.formatting import duration, number, percent
from selfreward_ray.reporting.page import content_policy, template
from selfreward_ray.reporting.plots import Line, Reference, model_plot
from selfreward_ray.store.folder import Folder

_PERCENT = (0.0, 100.0)


def write_documents(folder: Folder, recipe: Recipe, figures: ProofFigures, claims: list[Claim]) -> None:
    """Write the Markdown document, its main table alone, the published figures as JSON, and the HTML page."""
    tables = sections(figures, claims)
    folder.write_bytes("proof.md", document(figures, tables).encode())
    folder.write_bytes("table.md", markdown_table(main_table(figures)).encode())
    folder.write_bytes("proof.json", (json.dumps(published(figures), indent=2) + "\n").encode())
    folder.write_bytes("report.html", render_proof(recipe, figures, tables).encode())


def published(figures: ProofFigures) -> dict[str, Any]:
    """The published figures: ``[mean, low, high]`` by set and model, in percent except for Spearman.

    `low` and `high` are null if there is one seed with one prompt.
    """
    return {
        "true_score": _plain(figures.true_score),
        "conditional": _plain(figures.conditional),
        "judge_spearman_fixed": {m: _interval(judge.spearman, 4) for m, judge in figures.fixed_judge.items()},
        "control": {name: _plain(scores) for name, scores in figures.controls.items()},
        "seeds": len(figures.seeds),
    }


def _plain(scores: Scores) -> dict[str, dict[str, list[float | None]]]:
    return {name: {m: _interval(e, 2) for m, e in by_model.items()} for name, by_model in scores.items()}


def _interval(estimate: Estimate, digits: int) -> list[float | None]:
    values = (estimate.mean, estimate.low, estimate.high)
    return [None if value is None else round(value, digits) for value in values]


def document(figures: ProofFigures, tables: list[Section]) -> str:
    """The proof as Markdown."""
    parts = [
        "# Does the loop improve a model?",
        scope(figures),
        f"Written by `selfreward proof`; seeds: {', '.join(map(str, figures.seeds))}. The slowest took "
        f"{duration(figures.loop_seconds)} for the loop and its evaluation, and {duration(figures.seconds)} with all "
        "other measurements and the controls. An interrupted step counts from its last start. `make proof` repeats the "
        "proof.",
    ]
    for section in tables:
        parts += [f"## {section.title}", section.note, markdown_table(section)]
    return "\n\n".join(parts)


def scope(figures: ProofFigures) -> str:
    """What the proof shows and what it does not, by the agreement of its judge with the verifier."""
    agreed, pairs = (sum(getattr(count, name) for count in figures.pairs.values()) for name in ("agreed", "pairs"))
    return (
        f"**The verifier agrees with {percent(agreed / pairs if pairs else None)} % of the {number(pairs)} pairs that "
        "models were trained on.** The judge was taught with verdicts made of the verifier's own checks. So this shows "
        "what DPO gains from the verdicts of a judge of that accuracy. It does not show a judge that improves: compare "
        "the Spearman of M1 with those of the models after it."
    )


def markdown_table(section: Section) -> str:
    """The table of a section as Markdown, without its title and note."""
    ruler = ["---" if column in TEXT_COLUMNS else "---:" for column in section.columns]
    lines = [f"| {' | '.join(cells)} |" for cells in (section.columns, ruler, *section.rows)]
    return "\n".join([*lines, ""])


def render_proof(recipe: Recipe, figures: ProofFigures, tables: list[Section]) -> str:
    """The proof as HTML. All text is escaped, model output included."""
    return template("proof.html").render(
        policy=content_policy(),
        name=recipe.name,
        figures=figures,
        varies=what_varies(figures),
        tables=tables,
        text_columns=TEXT_COLUMNS,
        plots=list(_plots(figures)),
        recipe_yaml=dump_recipe(recipe),
    )


def _plots(figures: ProofFigures) -> Iterator[tuple[str, Markup]]:
    """Captions and plots."""
    for name in figures.sets:
        lines = [_line("self-rewarded", figures.true_score[name])]
        lines += [
            _line(control, scores[name], branches=control in FROM_THE_SAME_MODEL)
            for control, scores in figures.controls.items()
        ]
        yield f"True score: {name}", model_plot(figures.models, lines, "true score %", _PERCENT)
    lines = [_line(name, scores) for name, scores in figures.conditional.items()]
    yield (
        "Conditional rules alone",
        model_plot(figures.models, lines, "kept %", _PERCENT, Reference("fixed habit", 50.0)),
    )
    judges = {"fixed replies": figures.fixed_judge, "its own answers": figures.own_judge}
    lines = [_line(on, {m: judge.spearman for m, judge in found.items()}) for on, found in judges.items()]
    yield (
        "Judge: agreement with the truth",
        model_plot(figures.models, lines, "Spearman", (-1.0, 1.0), Reference("chance", 0.0)),
    )


def _line(label: str, estimates: dict[str, Estimate], branches: bool = False) -> Line:
    return Line(label, {model: (e.mean, e.interval) for model, e in estimates.items()}, branches)
