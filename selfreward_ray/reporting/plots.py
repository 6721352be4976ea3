"""Plots as inline SVG: values over models, curves over training steps, and histograms.

A plot has no inline style: its classes take colours and fonts from ``report.css``, so that one drawing works in light
and dark mode under a strict content security policy. Axes have bounds that the caller states. A plot's label holds its
values in words, for readers who cannot see it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from selfreward_ray.reporting.formatting import visible

_WIDTH, _HEIGHT = 440, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 12, 28
_MOST_POINTS = 250
_SWATCH = (
    '<li><svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><circle class="dot c{}" cx="5" cy="5" r="4"/></svg>'
    "{}</li>"
)

Bounds = tuple[float, float]
"""Lower and upper end of an axis."""


@dataclass(frozen=True)
class Line:
    """A line of a plot over models."""

    label: str
    points: Mapping[str, tuple[float, Bounds | None]]
    """Mean and its interval, by model. A model without a point is a gap."""
    branches: bool = False
    """Connect each point with the previous point of the first line, rather than of this one."""


@dataclass(frozen=True)
class Reference:
    """A horizontal line at a value that a reader needs for comparison, such as chance."""

    label: str
    value: float


def from_zero(values: Iterable[float]) -> Bounds:
    """Bounds of an axis that holds 0 and all `values`, with a little room; 0 to 1 if there is nothing to show."""
    values = [0.0, *values]
    low, high = min(values), max(values)
    room = 0.05 * (high - low)
    return (low - room if low < 0 else 0.0, high + room if high > 0 else 0.0) if room else (0.0, 1.0)


def model_plot(
    models: Sequence[str], lines: Sequence[Line], unit: str, bounds: Bounds, reference: Reference | None = None
) -> Markup:
    """Plot up to five `lines` over `models`. They are shifted slightly, so that their intervals do not overlap."""
    canvas = _Canvas((-0.5, len(models) - 0.5), bounds, unit)
    canvas.grid(reference)
    canvas.name_places(models)
    trunk: dict[int, tuple[float, float]] = {}
    for number, line in enumerate(lines):
        shift = 0.08 * (number - (len(lines) - 1) / 2)
        at = {place: line.points[model] for place, model in enumerate(models) if model in line.points}
        points = {place: (place + shift, mean) for place, (mean, _) in at.items()}
        trunk = trunk or points
        for place, end in points.items():
            start = (trunk if line.branches else points).get(place - 1)
            if start is not None:
                canvas.polyline([start, end], number)
        for place, (mean, interval) in at.items():
            canvas.point(*points[place], interval, number, f"{line.label}, {models[place]}: {_spoken(mean, interval)}")
    spoken = [
        f"{line.label}: " + ", ".join(f"{m} {_spoken(*line.points[m])}" for m in models if m in line.points)
        for line in lines
    ]
    return canvas.svg([line.label for line in lines], spoken)


def step_plot(
    curves: Mapping[str, Sequence[tuple[int, float]]],
    unit: str,
    bounds: Bounds,
    skipped: Sequence[int] = (),
    reference: Reference | None = None,
) -> Markup:
    """Plot up to five `curves` of (step, value) over training steps. `skipped` steps are marked on the axis.

    Of more than 250 points a curve shows the means of adjacent ones.
    """
    steps = [step for points in curves.values() for step, _ in points] + [*skipped]
    canvas = _Canvas((0, max([*steps, 1])), bounds, f"{unit}, by optimizer step")
    canvas.grid(reference)
    canvas.number_places()
    for number, points in enumerate(curves.values()):
        canvas.polyline(_thinned(points), number)
        if len(points) == 1:
            canvas.point(*points[0], None, number, f"step {points[0][0]}: {points[0][1]:g}")
    for step in skipped:
        canvas.mark(step)
    spoken = [
        f"{label}: {points[0][1]:.4g} at step {points[0][0]}, {points[-1][1]:.4g} at step {points[-1][0]}"
        for label, points in curves.items()
        if points
    ]
    return canvas.svg(list(curves), [*spoken, *([f"{len(skipped)} skipped steps"] if skipped else [])])


def histogram(labels: Sequence[str], shares: Mapping[str, Sequence[float]], unit: str) -> Markup:
    """Bars of `shares`, in percent, side by side for each of `labels`. The axis goes from 0 to 100."""
    canvas = _Canvas((-0.5, len(labels) - 0.5), (0.0, 100.0), unit)
    canvas.grid(None)
    canvas.name_places(labels)
    width = 0.8 / max(len(shares), 1)
    for number, (name, values) in enumerate(shares.items()):
        for place, (label, value) in enumerate(zip(labels, values, strict=True)):
            canvas.bar(place - 0.4 + number * width, width, value, number, f"{name}, {label}: {value:.1f} %")
    spoken = [
        f"{name}: " + ", ".join(f"{value:.1f} % at {label}" for label, value in zip(labels, values, strict=True))
        for name, values in shares.items()
    ]
    return canvas.svg(list(shares), spoken)


class _Canvas:
    """Collects the elements of one SVG. Places are in the units of the axes, numbers choose the colours."""

    def __init__(self, across: Bounds, up: Bounds, unit: str) -> None:
        self._across, self._up, self._unit = across, up, unit
        self._parts: list[Markup] = []

    def _x(self, value: float) -> str:
        low, high = self._across
        return f"{_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def _y(self, value: float) -> str:
        low, high = self._up
        inside = min(max(value, low), high)
        return f"{_TOP + (high - inside) / (high - low) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    def _add(self, template: str, *values: object) -> None:
        self._parts.append(Markup(template).format(*values))  # noqa: S704 - format escapes the values

    def _text(self, x: object, y: object, anchor: str, text: str) -> None:
        self._add('<text x="{}" y="{}" text-anchor="{}">{}</text>', x, y, anchor, visible(text))

    def grid(self, reference: Reference | None) -> None:
        for value in ticks(*self._up):
            y = self._y(value)
            self._add('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, _WIDTH - _RIGHT, y, y)
            self._text(_LEFT - 7, float(y) + 4, "end", tick_label(value))
        if reference is not None:
            y = self._y(reference.value)
            self._add('<line class="chance" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, _WIDTH - _RIGHT, y, y)
            self._text(_WIDTH - _RIGHT, float(y) - 5, "end", reference.label)

    def name_places(self, names: Sequence[str]) -> None:
        for place, name in enumerate(names):
            self._text(self._x(place), _HEIGHT - _BOTTOM + 18, "middle", _short(name))

    def number_places(self) -> None:
        for value in ticks(*self._across):
            if value.is_integer():
                self._text(self._x(value), _HEIGHT - _BOTTOM + 18, "middle", tick_label(value))

    def polyline(self, points: Sequence[tuple[float, float]], number: int) -> None:
        drawn = " ".join(f"{self._x(x)},{self._y(y)}" for x, y in points)
        self._add('<polyline class="line c{}" points="{}"/>', number, drawn)

    def point(self, x: float, y: float, interval: Bounds | None, number: int, title: str) -> None:
        if interval is not None:
            at, (low, high) = self._x(x), map(self._y, interval)
            self._add('<line class="line c{}" x1="{}" x2="{}" y1="{}" y2="{}"/>', number, at, at, low, high)
        template = '<circle class="dot c{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>'
        self._add(template, number, self._x(x), self._y(y), visible(title))

    def bar(self, x: float, width: float, value: float, number: int, title: str) -> None:
        left, right, top, bottom = float(self._x(x)), float(self._x(x + width)), self._y(value), self._y(0)
        template = '<rect class="dot c{}" x="{:.1f}" y="{}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
        self._add(template, number, left, top, max(right - left - 1, 1), float(bottom) - float(top), visible(title))

    def mark(self, x: float) -> None:
        at, bottom = self._x(x), _HEIGHT - _BOTTOM
        self._add('<line class="skipped" x1="{}" x2="{}" y1="{}" y2="{}"/>', at, at, bottom - 9, bottom)

    def svg(self, labels: Sequence[str], spoken: Sequence[str]) -> Markup:
        """The drawing below its legend, which a single unnamed line does without."""
        items = Markup("").join(
            Markup(_SWATCH).format(number, visible(label))  # noqa: S704 - format escapes the values
            for number, label in enumerate(labels)
        )
        legend = Markup('<ul class="legend">{}</ul>').format(items) if len(labels) > 1 else Markup("")
        low, high = (tick_label(value) for value in self._up)
        label = visible(f"{self._unit}, axis from {low} to {high}. " + "; ".join(spoken))
        template = '{}<p class="unit">{}</p><svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        drawing = Markup("").join(self._parts)
        return Markup(template).format(legend, visible(self._unit), _WIDTH, _HEIGHT, label, drawing)  # noqa: S704


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values between `low` and `high`."""
    magnitude = 10.0 ** floor(log10((high - low) / 5))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude * 5.001 >= high - low)
    return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def tick_label(value: float) -> str:
    """A short number: ``1,500``, ``0.25``, ``2e-6``."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _spoken(mean: float, interval: Bounds | None) -> str:
    return f"{mean:.4g}" if interval is None else f"{mean:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "…"


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // _MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def bar(share: float) -> Markup:
    """A horizontal bar that fills `share`, 0 to 1, of its width."""
    template = (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{:.2f}" height="4"/></svg>'
    )
    return Markup(template).format(100 * share)  # noqa: S704 - a number
