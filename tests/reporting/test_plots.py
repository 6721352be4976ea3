import re
from xml.etree import ElementTree

import pytest

from selfreward_ray.reporting.plots import (
    Line,
    Reference,
    bar,
    from_zero,
    histogram,
    model_plot,
    step_plot,
    tick_label,
    ticks,
)

PERCENT = (0.0, 100.0)
OWN = Line("own", {"M1": (40.0, (38.0, 42.0)), "M2": (60.0, None), "M3": (80.0, (77.0, 82.0))})


def drawing(plot: str) -> ElementTree.Element:
    """The plot's own SVG, without its legend."""
    return ElementTree.fromstring(plot[plot.index('<svg class="plot"') :])  # noqa: S314


def texts(plot: str) -> list[str]:
    return [element.text or "" for element in drawing(plot).iter("text")]


def points(plot: str, number: int) -> list[tuple[float, float]]:
    """Places of the dots of a line, in pixels from the upper left corner."""
    return [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
        for dot in drawing(plot).iter("circle")
        if dot.attrib["class"] == f"dot c{number}"
    ]


def lines(plot: str, number: int) -> list[list[tuple[float, float]]]:
    found = [e.attrib["points"] for e in drawing(plot).iter("polyline") if e.attrib["class"] == f"line c{number}"]
    return [[tuple(map(float, place.split(","))) for place in one.split()] for one in found]  # type: ignore[misc]


def test_models_axis_and_reference_are_named() -> None:
    plot = model_plot(["M1", "M2", "M3"], [OWN], "score %", PERCENT, Reference("chance", 50.0))
    assert texts(plot) == ["0", "20", "40", "60", "80", "100", "chance", "M1", "M2", "M3"]
    assert '<p class="unit">score %</p>' in plot
    assert 'class="legend"' not in plot


def test_the_axis_has_the_bounds_that_were_stated() -> None:
    """From 0 to 100, 80 is as far above 60 as 60 is above 40, and the axis does not zoom in on the values."""
    plot = model_plot(["M1", "M2", "M3"], [OWN], "score %", PERCENT)
    (_, first), (_, second), (_, third) = points(plot, 0)
    assert first - second == pytest.approx(second - third)
    near = {"M1": (99.3, None), "M2": (99.7, None)}
    (_, low), (_, high) = points(model_plot(["M1", "M2"], [Line("own", near)], "score %", PERCENT), 0)
    assert low - high < 1


def test_an_interval_is_cut_at_the_end_of_the_axis() -> None:
    plot = model_plot(["M1"], [Line("own", {"M1": (98.0, (93.0, 103.0))})], "score %", PERCENT)
    (interval,) = [e for e in drawing(plot).iter("line") if e.attrib["class"] == "line c0"]
    top = min(float(e.attrib["y1"]) for e in drawing(plot).iter("line") if e.attrib["class"] == "grid")
    assert min(float(interval.attrib["y1"]), float(interval.attrib["y2"])) == top


def test_an_interval_need_not_be_symmetric() -> None:
    plot = model_plot(["M1"], [Line("own", {"M1": (50.0, (45.0, 70.0))})], "score %", PERCENT)
    (interval,) = [e for e in drawing(plot).iter("line") if e.attrib["class"] == "line c0"]
    low, high, ((_, middle),) = float(interval.attrib["y1"]), float(interval.attrib["y2"]), points(plot, 0)
    assert middle - high == pytest.approx(4 * (low - middle), abs=0.2)


def test_a_model_without_a_point_is_a_gap() -> None:
    plot = model_plot(["M1", "M2", "M3"], [Line("own", {"M1": (1.0, None), "M3": (2.0, None)})], "x", PERCENT)
    assert len(points(plot, 0)) == 2
    assert lines(plot, 0) == []


def test_a_line_that_branches_goes_out_from_the_first_line() -> None:
    control = Line("random", {"M2": (50.0, (48.0, 52.0)), "M3": (55.0, (53.0, 57.0))}, branches=True)
    plot = model_plot(["M1", "M2", "M3"], [OWN, control], "score %", PERCENT)
    trunk, branches = points(plot, 0), lines(plot, 1)
    assert [branch[0] for branch in branches] == trunk[:2]
    assert [branch[1] for branch in branches] == points(plot, 1)
    assert re.findall(r"</svg>([^<]*)</li>", plot) == ["own", "random"]


def test_the_label_has_the_values_in_words() -> None:
    plot = model_plot(["M1", "M2"], [OWN], "score %", PERCENT)
    label = drawing(plot).attrib["aria-label"]
    assert label == "score %, axis from 0 to 100. own: M1 40 (38 to 42), M2 60"


def test_skipped_steps_are_marked_and_counted() -> None:
    plot = step_plot({"loss": [(1, 2.0), (2, 1.0), (4, 0.5)]}, "nats", (0.0, 2.0), skipped=[3])
    assert sum(e.attrib["class"] == "skipped" for e in drawing(plot).iter("line")) == 1
    label = drawing(plot).attrib["aria-label"]
    assert label == "nats, by optimizer step, axis from 0 to 2. loss: 2 at step 1, 0.5 at step 4; 1 skipped steps"
    ((*_, last),) = lines(plot, 0)
    assert len(_) == 2
    assert last[0] > _[0][0]


def test_a_long_curve_is_drawn_by_means_of_adjacent_points() -> None:
    """Of 1,000 points that alternate between 0 and 2 each group of four has the mean 1."""
    plot = step_plot({"loss": [(n, 2.0 * (n % 2)) for n in range(1000)]}, "nats", (0.0, 2.0))
    (curve,) = lines(plot, 0)
    assert len(curve) == 250
    assert len({y for _, y in curve}) == 1


def test_steps_are_whole_numbers() -> None:
    plot = step_plot({"loss": [(n, 1.0) for n in range(1, 13)]}, "nats", (0.0, 2.0))
    assert texts(plot)[-3:] == ["0", "5", "10"]


def test_one_step_is_a_dot() -> None:
    assert len(points(step_plot({"loss": [(1, 2.0)]}, "nats", (0.0, 2.0)), 0)) == 1


def test_bars_of_a_histogram_are_as_high_as_their_shares() -> None:
    plot = histogram(["0", "1"], {"M1": [25.0, 75.0], "M2": [50.0, 50.0]}, "%")
    bars = [(e.attrib["class"], float(e.attrib["height"])) for e in drawing(plot).iter("rect")]
    heights = {name: [height for found, height in bars if found == name] for name in ("dot c0", "dot c1")}
    assert heights["dot c0"][1] == pytest.approx(3 * heights["dot c0"][0], rel=0.01)
    assert heights["dot c1"][0] == pytest.approx(2 * heights["dot c0"][0], rel=0.01)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((0, 100), [0, 20, 40, 60, 80, 100]),
        ((-1, 1), [-1, -0.5, 0, 0.5, 1]),
        ((0, 7), [0, 2, 4, 6]),
        ((0, 2.1e-6), [0, 5e-7, 1e-6, 1.5e-6, 2e-6]),
        ((0, 1058), [0, 250, 500, 750, 1000]),
    ],
)
def test_ticks_are_round_numbers(bounds: tuple[float, float], expected: list[float]) -> None:
    assert ticks(*bounds) == pytest.approx(expected)


def test_tick_labels_are_short() -> None:
    labels = [tick_label(value) for value in (0, 0.5, 100, 1500, 2e-6, 1.5e-7, -0.25, 2_000_000)]
    assert labels == ["0", "0.5", "100", "1,500", "2e-6", "1.5e-7", "-0.25", "2e6"]


def test_an_axis_from_zero_holds_all_values() -> None:
    assert from_zero([]) == (0.0, 1.0)
    assert from_zero([0.0]) == (0.0, 1.0)
    low, high = from_zero([2.0, 10.0])
    assert (low, 10 < high < 11) == (0.0, True)
    low, high = from_zero([-3.0, 1.0])
    assert low < -3
    assert high > 1


def test_a_name_is_no_markup_and_colours_come_from_the_page() -> None:
    plot = model_plot(["<b>\x00"], [Line("<i>", {"<b>\x00": (1.0, (0.0, 2.0))}), Line("b", {})], "<u>", PERCENT)
    assert texts(plot)[-1] == "<b>␀"
    assert "<i>" not in plot
    assert "<u>" not in plot
    assert not re.search("style=|#[0-9a-f]{6}|fill=|stroke=", plot)


def test_a_bar_has_its_share_of_the_width() -> None:
    assert '<rect width="12.50"' in bar(0.125)
