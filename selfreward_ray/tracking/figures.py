"""Figures for trackers, which take pictures and not the report's drawings."""

from collections.abc import Mapping
from io import BytesIO

from matplotlib.figure import Figure

from selfreward_ray.reporting.formatting import visible


def histogram(counts: Mapping[str, int], title: str) -> bytes:
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
