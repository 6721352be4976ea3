"""Plots of scores over the models M1, M2, …, as inline SVG with the colours of the surrounding page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from selfreward_ray.reporting.formatting import visible
from selfreward_ray.reporting.summary import ModelSummary

# matplotlib needs concrete colours. In the SVG each one is replaced by a CSS variable of the page, so that one drawing
# works in light and dark mode.
_INK, _GRID = "#010101", "#020202"
_LINES = _FIRST, _SECOND, *_ = ("#030303", "#040404", "#050505", "#060606", "#070707")
_NAMES = ("muted", "line", "first", "second", "third", "fourth", "fifth")
_VARIABLES = {colour: f"var(--{name})" for colour, name in zip((_INK, _GRID, *_LINES), _NAMES, strict=True)}

_STYLE = {
    "svg.fonttype": "none",  # text, not paths: it uses the page's font and can be selected
    "svg.hashsalt": "selfreward-ray",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 7,
}
_MARKERS = "os^vD"
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def score_plot(models: Sequence[ModelSummary], scorer: str | None) -> Markup | None:
    """Plot the models' scores by `scorer`, in percent with 95 % intervals; None if no model has a score."""
    if all(model.score is None for model in models):
        return None
    scores = [_gap(model.score) for model in models]
    below = [score - _gap(model.score_low) for score, model in zip(scores, models, strict=True)]
    above = [_gap(model.score_high) - score for score, model in zip(scores, models, strict=True)]
    with rc_context(_STYLE):
        figure, axes = _canvas([model.model for model in models])
        axes.plot(scores, color=_FIRST, marker="o")
        axes.errorbar(range(len(models)), scores, yerr=(below, above), fmt="none", color=_FIRST, capsize=5)
        axes.set_ylabel(visible(f"{scorer} score %"), parse_math=False)
        return _svg(figure)


def judge_plot(models: Sequence[ModelSummary]) -> Markup | None:
    """Plot pairwise accuracy and Spearman's correlation with the human rankings; None if no model has either."""
    if all(model.pairwise_accuracy is None and model.spearman is None for model in models):
        return None
    with rc_context(_STYLE):
        figure, axes = _canvas([model.model for model in models])
        accuracies = [_gap(model.pairwise_accuracy) for model in models]
        correlations = [_gap(model.spearman) for model in models]
        axes.plot(accuracies, color=_FIRST, marker="o", label="pairwise accuracy")
        axes.plot(correlations, color=_SECOND, marker="s", linestyle="--", label="Spearman")
        axes.set_ylabel("agreement (1 is full)")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        return _svg(figure)


@dataclass(frozen=True)
class Line:
    """A line of an interval plot."""

    label: str
    points: Mapping[str, tuple[float, float | None]]
    """Mean and half the width of its interval, by model. A model without a point is a gap."""
    branches: bool = False
    """Connect each point with the previous point of the first line, rather than of this one."""

    def at(self, model: str) -> tuple[float | None, float | None]:
        """The point of `model`; a pair of None if it has none."""
        return self.points.get(model, (None, None))


def interval_plot(models: Sequence[str], lines: Sequence[Line], unit: str) -> Markup:
    """Plot up to five `lines` over `models`. They are shifted slightly, so that their intervals do not overlap."""
    with rc_context(_STYLE):
        figure, axes = _canvas(models)
        chief: list[tuple[float, float]] = []
        for index, line in enumerate(lines):
            places = [place + 0.08 * (index - (len(lines) - 1) / 2) for place in range(len(models))]
            means, margins = (list(map(_gap, x)) for x in zip(*map(line.at, models), strict=True))
            dashes = "--" if index else "-"
            axes.errorbar(
                places, means, yerr=margins, label=visible(line.label), color=_LINES[index], marker=_MARKERS[index],
                linestyle="none" if line.branches else dashes, capsize=3,
            )  # fmt: skip
            points = list(zip(places, means, strict=True))
            chief = chief or points
            if line.branches:
                for start, end in zip(chief, points[1:], strict=False):
                    axes.plot(*zip(start, end, strict=True), color=_LINES[index], linestyle=dashes)
        axes.set_ylabel(unit)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        return _svg(figure)


def histogram_png(counts: Mapping[str, int], title: str) -> bytes:
    """A histogram as a PNG: `counts` by value, the values as text, in their order as numbers."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    values = sorted(counts, key=float)
    axes.bar(range(len(values)), [counts[value] for value in values])
    axes.set_xticks(range(len(values)), values)
    axes.set_title(visible(title), parse_math=False)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()


def _gap(value: float | None) -> float:
    """NaN for None, for which matplotlib leaves a gap."""
    return float("nan") if value is None else value


def _canvas(models: Sequence[str]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.set_xticks(range(len(models)), list(map(visible, models)), parse_math=False)
    axes.set_xlim(-0.4, len(models) - 0.6)
    return figure, axes


def _svg(figure: Figure) -> Markup:
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    # Ids such as figure_1 would occur twice on a page with two drawings. Ids that are referred to are hashes.
    svg = re.sub(r' id="[a-z0-9]+_\d+"', "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)  # noqa: S704 - matplotlib has escaped every text in it
