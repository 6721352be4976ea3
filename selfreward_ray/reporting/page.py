"""The report of a run as one self-contained HTML page."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from selfreward_ray.evaluation.agreement import RULE
from selfreward_ray.reporting.columns import STEP_COLUMNS, TEXT_COLUMNS, model_cells, model_columns, step_cells
from selfreward_ray.reporting.formatting import duration, number, visible
from selfreward_ray.reporting.plots import judge_plot, score_plot
from selfreward_ray.reporting.summary import RunSummary


def render_page(summary: RunSummary) -> str:
    """HTML of the report. All text is escaped, model output included."""
    return template("page.html").render(
        summary=summary,
        scorer=summary.scorer and visible(summary.scorer),
        model_columns=model_columns(summary.scorer),
        model_rows=[model_cells(model, summary.scorer) for model in summary.models],
        text_columns=TEXT_COLUMNS,
        step_columns=STEP_COLUMNS,
        step_rows=[step_cells(step) for step in summary.steps],
        score_plot=score_plot(summary.models, summary.scorer),
        judge_plot=judge_plot(summary.models),
        total_seconds=sum(step.seconds for step in summary.steps),
        total_tokens=sum(step.tokens for step in summary.steps),
        agreement_rule=RULE,
        longest=max((step.seconds for step in summary.steps), default=0),
    )


def _readable(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def template(name: str) -> Template:
    """A template of this folder. Its values are escaped, and control characters in them are made visible."""
    environment = Environment(
        loader=PackageLoader("selfreward_ray", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, number=number)
    return environment.get_template(name)
