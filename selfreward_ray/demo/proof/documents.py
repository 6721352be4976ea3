"""What a proof leaves: ``report.html``, ``proof.md``, ``proof.json`` and ``table.md``, from the figures alone."""

import json
from typing import Any

from selfreward_ray.demo.proof.claims import Claim
from selfreward_ray.demo.proof.figures import ProofFigures, Scores
from selfreward_ray.demo.proof.page import render_proof
from selfreward_ray.demo.proof.sections import WORDS, Section, main_table, sections
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.wording import duration, number, percent
from selfreward_ray.store.folder import Folder


def write_documents(folder: Folder, recipe: Recipe, figures: ProofFigures, claims: list[Claim]) -> None:
    """Write the document, its chief table alone, the figures that others may read, and the page."""
    tables = sections(figures, claims)
    folder.write_bytes("proof.md", document(figures, tables).encode())
    folder.write_bytes("table.md", markdown_table(main_table(figures)).encode())
    folder.write_bytes("proof.json", (json.dumps(published(figures), indent=2) + "\n").encode())
    folder.write_bytes("report.html", render_proof(recipe, figures, tables).encode())


def published(figures: ProofFigures) -> dict[str, Any]:
    """``[mean, low, high]`` by set and model, in percent but for Spearman; low and high are null where one seed has one
    prompt."""
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
    """The proof in Markdown."""
    parts = [
        "# Does the loop improve a model?",
        scope(figures),
        f"Written by `selfreward proof`; seeds: {', '.join(map(str, figures.seeds))}. The slowest took "
        f"{duration(figures.loop_seconds)} for the steps of the loop and its evaluation, {duration(figures.seconds)} "
        "with all that is measured beside it and the controls, where a step that was interrupted counts from its last "
        "start. `make proof` makes it again.",
    ]
    for section in tables:
        parts += [f"## {section.title}", section.note, markdown_table(section)]
    return "\n\n".join(parts)


def scope(figures: ProofFigures) -> str:
    """What the proof shows and what it does not, by how near its judge is to the verifier."""
    agreed, pairs = (sum(getattr(count, name) for count in figures.pairs.values()) for name in ("agreed", "pairs"))
    return (
        f"**The verifier agrees with {percent(agreed / pairs if pairs else None)} % of the {number(pairs)} pairs that "
        "models were trained on.** The judge was taught with verdicts made of the verifier's own checks. So this shows "
        "what DPO gains from the verdicts of a judge of that accuracy. It does not show a judge that improves: compare "
        "the Spearman of M1 with those of the models after it."
    )


def markdown_table(section: Section) -> str:
    """The table alone."""
    ruler = ["---" if column in WORDS else "---:" for column in section.columns]
    lines = [f"| {' | '.join(cells)} |" for cells in (section.columns, ruler, *section.rows)]
    return "\n".join([*lines, ""])
