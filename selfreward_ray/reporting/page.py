"""The report of a run as one self-contained HTML page."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from selfreward_ray.evaluation.agreement import RULE
from selfreward_ray.reporting import columns, drawings
from selfreward_ray.reporting.conclusion import conclusion
from selfreward_ray.reporting.findings import by_models
from selfreward_ray.reporting.formatting import duration, number, shortened, visible
from selfreward_ray.reporting.pairs_data import PairData
from selfreward_ray.reporting.plots import bar
from selfreward_ray.reporting.summary import RunSummary, rejection_mark, rejection_notes

_CONTENTS = (
    ("better", "Did it get better?"),
    ("judge", "Can I trust the judge?"),
    ("alarms", "Alarms"),
    ("pairs", "The pairs"),
    ("training", "Training curves"),
    ("lengths", "Lengths and scores"),
    ("cost", "Time and tokens"),
    ("recipe", "Recipe and versions"),
)


def render_page(summary: RunSummary, data: PairData) -> str:
    """HTML of the report. All text is escaped, model output included; `data` is what the pair browser embeds."""
    script = _asset("report.js")
    machine = [difference for difference in summary.differences if difference.machine]
    method = [difference for difference in summary.differences if not difference.machine]
    return template("page.html").render(
        policy=content_policy(script),
        script=script,
        summary=summary,
        data=data,
        contents=_CONTENTS,
        answer=conclusion(summary),
        findings=[
            (models, rejection_mark(models, summary.rejections, summary.planned_models), found)
            for models, found in by_models(summary.findings)
        ],
        scorer=summary.scorer and visible(summary.scorer),
        rejection_notes=rejection_notes(summary.rejections, summary.planned_models),
        text_columns=columns.TEXT_COLUMNS,
        **_tables(summary),
        score_plots=[*drawings.win_rate_drawings(summary), *drawings.score_drawings(summary)],
        judge_plots=drawings.judge_drawings(summary),
        histograms=drawings.histogram_drawings(summary),
        length_plots=drawings.length_drawings(summary),
        training_plots=[drawings.training_drawings(training) for training in summary.trainings],
        embedded=[(model, data.shown.get(model, 0), total) for model, total in data.total.items()],
        bar=bar,
        total_seconds=sum(step.seconds for step in summary.steps),
        total_tokens=sum(step.tokens for step in summary.steps),
        agreement_rule=RULE,
        longest=max((step.seconds for step in summary.steps), default=0),
        differences=(
            ("What differs from the paper in the method", method),
            ("Where and how fast it runs", machine),
        ),
    )


def _tables(summary: RunSummary) -> dict[str, Any]:
    starts = any(step.engine_start_seconds is not None for step in summary.steps)
    return {
        "model_columns": columns.model_columns(summary.scorer),
        "model_rows": [columns.model_cells(model, summary.scorer) for model in summary.models],
        "judge_columns": columns.JUDGE_COLUMNS,
        "judge_rows": list(map(columns.judge_cells, summary.models)),
        "comparison_columns": columns.COMPARISON_COLUMNS,
        "comparison_rows": list(map(columns.comparison_cells, summary.comparisons)),
        "iteration_columns": columns.ITERATION_COLUMNS,
        "iteration_rows": list(map(columns.iteration_cells, summary.iterations)),
        "alarm_columns": columns.ALARM_COLUMNS,
        "alarm_rows": list(map(columns.alarm_cells, summary.alarms)),
        "outcome_columns": columns.OUTCOME_COLUMNS,
        "outcome_rows": columns.outcome_rows(summary.iterations),
        "flag_columns": columns.FLAG_COLUMNS,
        "flag_rows": columns.flag_rows(summary.iterations),
        "shared_columns": columns.SHARED_COLUMNS,
        "shared_rows": columns.shared_rows(summary.iterations),
        "length_columns": columns.LENGTH_COLUMNS,
        "length_rows": columns.length_rows(summary.models, summary.iterations),
        "step_columns": columns.step_columns(starts),
        "step_rows": [columns.step_cells(step, starts) for step in summary.steps],
    }


def content_policy(script: str = "") -> str:
    """The content security policy of a page with `script` and this folder's style: nothing else may run or load."""
    pinned = _pin(script) if script else "'none'"
    style = _pin(_asset("report.css"))
    return f"default-src 'none'; script-src {pinned}; style-src {style}; base-uri 'none'; form-action 'none'"


def _pin(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> Markup:
    """A file of this folder that pages embed as it is."""
    return Markup((resources.files(__package__) / name).read_text(encoding="utf-8"))  # noqa: S704 - of this package


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
    environment.filters.update(duration=duration, number=number, shortened=shortened)
    environment.globals["style"] = _asset("report.css")
    return environment.get_template(name)
