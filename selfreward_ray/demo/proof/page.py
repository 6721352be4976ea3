"""The proof as one HTML page that needs nothing beside itself, in the clothes of a run's report."""

from collections.abc import Iterator

from markupsafe import Markup

from selfreward_ray.demo.proof.controls import FROM_THE_SAME_MODEL
from selfreward_ray.demo.proof.figures import ProofFigures
from selfreward_ray.demo.proof.sections import TEXT_COLUMNS, Section, what_varies
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import dump_recipe
from selfreward_ray.reporting.page import template
from selfreward_ray.reporting.plots import Line, interval_plot


def render_proof(recipe: Recipe, figures: ProofFigures, tables: list[Section]) -> str:
    """HTML of the proof. Everything that a model wrote is escaped and shown as text."""
    return template("proof.html").render(
        name=recipe.name,
        figures=figures,
        varies=what_varies(figures),
        tables=tables,
        text_columns=TEXT_COLUMNS,
        plots=list(_plots(figures)),
        recipe_yaml=dump_recipe(recipe),
    )


def _plots(figures: ProofFigures) -> Iterator[tuple[str, Markup]]:
    """Captions and drawings."""
    for name in figures.sets:
        lines = [_line("self-rewarded", figures.true_score[name])]
        lines += [
            _line(control, scores[name], branches=control in FROM_THE_SAME_MODEL)
            for control, scores in figures.controls.items()
        ]
        yield f"True score: {name}", interval_plot(figures.models, lines, "true score %")
    lines = [_line(name, scores) for name, scores in figures.conditional.items()]
    yield "Conditional rules alone", interval_plot(figures.models, lines, "kept %")
    judges = {"fixed replies": figures.fixed_judge, "its own answers": figures.own_judge}
    lines = [_line(on, {m: judge.spearman for m, judge in found.items()}) for on, found in judges.items()]
    yield "Judge: agreement with the truth", interval_plot(figures.models, lines, "Spearman")


def _line(label: str, estimates: dict[str, Estimate], branches: bool = False) -> Line:
    return Line(label, {model: (e.mean, e.margin) for model, e in estimates.items()}, branches)
