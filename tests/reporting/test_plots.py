import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import pytest
from reporting_examples import M0, M1

from selfreward_ray.reporting.plots import Line, interval_plot, judge_plot, score_plot
from selfreward_ray.reporting.summary import ModelSummary

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314


def markers(svg: str) -> int:
    """Points drawn: each is a reference to the marker's shape, in the colour of the first line."""
    return len(re.findall(r'<use [^>]*style="fill: var\(--first\)[^>]*>', svg))


def test_the_models_are_named_and_the_axis_is_labelled() -> None:
    svg = score_plot([M0, M1], "demo")
    assert svg is not None
    assert texts(svg)[:2] == ["M0", "M1"]
    assert "demo score %" in texts(svg)


def test_a_model_without_a_score_leaves_a_gap() -> None:
    both, one = score_plot([M0, M1], "demo"), score_plot([M0, replace(M1, score=None)], "demo")
    assert both is not None
    assert one is not None
    assert markers(both) - markers(one) == 3  # the point and its interval's two ends


def test_nothing_measured_is_no_plot() -> None:
    assert score_plot([replace(M0, score=None)], "demo") is None
    assert score_plot([], "demo") is None
    assert judge_plot([M0]) is None
    assert judge_plot([replace(M0, spearman=0.2)]) is not None
    assert judge_plot([replace(M0, pairwise_accuracy=0.6)]) is not None


def test_lines_are_named_and_a_model_that_is_not_there_is_a_gap() -> None:
    short, other = Line("own", {"M1": (40.0, 2.0)}), Line("<b>", {"M2": (45.0, None)})
    whole = replace(short, points={"M1": (40.0, 2.0), "M2": (50.0, 2.0)})
    both, one = (interval_plot(["M1", "M2"], [line, other], "score %") for line in (whole, short))
    assert {"M1", "M2", "own", "<b>", "score %"} <= set(texts(both))
    assert markers(both) - markers(one) == 3  # the point and its interval's two ends


def test_a_line_that_branches_goes_out_from_the_first_line() -> None:
    chief = Line("own", {"M1": (40.0, 2.0), "M2": (60.0, 2.0), "M3": (80.0, 2.0)})
    control = Line("random", {"M2": (50.0, 2.0), "M3": (55.0, 2.0)}, branches=True)
    svg = interval_plot(["M1", "M2", "M3"], [chief, control], "score %")
    (trunk,) = lines(svg, "first")
    branches = lines(svg, "second")
    assert [branch[0] for branch in branches] == trunk[:2]
    heights = [branch[1][1] for branch in branches]
    assert heights[0] > heights[1] > trunk[2][1], "50, 55 and 80; SVG counts from the top"


def lines(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """Points of the lines drawn, without intervals, which are upright, and samples of the legend, which are level."""
    paths = re.findall(rf'<path d="(M [^"]*)"[^>]*stroke: var\(--{colour}\)', svg)
    points = [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)] for path in paths]
    return [line for line in points if line[0][0] != line[-1][0] and line[0][1] != line[-1][1]]


@pytest.mark.parametrize("plot", [partial(score_plot, scorer="demo"), judge_plot])
def test_the_same_figures_give_the_same_bytes(plot: Callable[[list[ModelSummary]], str | None]) -> None:
    assert plot([M0, M1]) == plot([M0, M1])
    assert "<metadata" not in str(plot([M0, M1]))


def test_colours_come_from_the_page() -> None:
    svg = str(score_plot([M0, M1], "demo")) + str(judge_plot([M0, M1]))
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "var(--first)" in svg
    assert "var(--second)" in svg


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_model_name_is_neither_markup_nor_mathematics() -> None:
    svg = score_plot([replace(M1, model="<b>$\\frac$\x00")], "<i>")
    assert svg is not None
    assert texts(svg)[0] == "<b>$\\frac$␀"
