"""The plots of a report with their captions, by section."""

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from selfreward_ray.reporting.judged import merged_histograms
from selfreward_ray.reporting.plots import (
    Bounds,
    Line,
    Reference,
    from_zero,
    histogram,
    model_plot,
    step_plot,
)
from selfreward_ray.reporting.summary import ModelSummary, RunSummary, Training

Drawing = tuple[str, Markup]
"""A caption and a plot."""

_PERCENT = (0.0, 100.0)
_HALF = Reference("chance", 50.0)
_WITH_INTERVAL = ", with 95 % intervals"


def score_drawings(summary: RunSummary) -> list[Drawing]:
    """The scorer's score of each model; empty if no model has one."""
    points = {m.model: (m.score, _score_interval(m)) for m in summary.models if m.score is not None}
    if not points:
        return []
    unit = f"{summary.scorer} score, %"
    return [("Answers: score with its 95 % interval", _over_models(summary, [Line("score", points)], unit, _PERCENT))]


def win_rate_drawings(summary: RunSummary) -> list[Drawing]:
    """The win rates of each model by the judge of the run; empty if it compared nothing."""
    first = summary.models[0].model if summary.models else ""
    # Each model was compared with M1 and with the one that it was trained from, which is the newest of the two.
    newest = {m.model: max(m.against, key=_number) for m in summary.models if m.against}
    lines = [Line("against the model before", _win_rates(summary, newest))]
    if any(name != first for name in newest.values()):
        lines.append(Line("against the first model", _win_rates(summary, dict.fromkeys(newest, first))))
    lines = [line for line in lines if line.points]
    if not lines:
        return []
    plot = _over_models(summary, lines, "win rate, %, ties count half", _PERCENT, Reference("no difference", 50.0))
    return [(f"Head to head by {summary.instruments.judge}{_WITH_INTERVAL}", plot)]


def _number(model: str) -> int:
    """t of the model M(t)."""
    return int(model[1:])


def _win_rates(summary: RunSummary, others: Mapping[str, str]) -> dict[str, tuple[float, Bounds | None]]:
    """The win rates of each model against its one of `others`, by its name."""
    found = {m.model: m.against.get(others[m.model]) for m in summary.models if m.model in others}
    return {
        model: _scaled(outcomes["left_win_rate"], outcomes["left_win_interval"], 100)
        for model, outcomes in found.items()
        if outcomes is not None and outcomes["left_win_rate"] is not None
    }


def judge_drawings(summary: RunSummary) -> list[Drawing]:
    """Agreement of each model with the human rankings, with the level of chance; empty if nothing is measured."""
    accuracy = _agreement_line("pairwise accuracy", summary.models, "pairwise_accuracy", 100)
    best = _agreement_line("5-best", summary.models, "five_best", 100)
    exact = _agreement_line("exact match", summary.models, "exact_match", 100)
    correlations = [
        _agreement_line("Spearman", summary.models, "spearman"),
        _agreement_line("Kendall", summary.models, "kendall"),
    ]
    drawn = []
    if accuracy.points:
        plot = _over_models(summary, [accuracy], "pairwise accuracy, %", _PERCENT, _HALF)
        drawn.append((f"Pairs of replies ranked as humans did{_WITH_INTERVAL}", plot))
    shown = [line for line in correlations if line.points]
    if shown:
        plot = _over_models(summary, shown, "rank correlation", (-1.0, 1.0), Reference("chance", 0.0))
        drawn.append((f"Correlation with the human ranks{_WITH_INTERVAL}", plot))
    shown = [line for line in (best, exact) if line.points]
    if shown:
        plot = _over_models(summary, shown, "share, %", _PERCENT)
        drawn.append((f"Best replies and whole orders{_WITH_INTERVAL}", plot))
    return drawn


def histogram_drawings(summary: RunSummary) -> list[Drawing]:
    """How often the judges gave each score."""
    labels, shares = merged_histograms(summary.iterations)
    if not labels:
        return []
    judges = {f"judged by {judge}": values for judge, values in shares.items()}
    return [("Mean scores of the candidates, rounded", histogram(labels, judges, "share of the candidates, %"))]


def length_drawings(summary: RunSummary) -> list[Drawing]:
    """Mean lengths of answers, chosen and rejected replies; and their scores in the pairs."""
    iterations = summary.iterations
    names = _names(summary)
    lengths = [
        Line("answers", {m.model: (m.mean_words, None) for m in summary.models if m.mean_words is not None}),
        Line("chosen", {i.model: (i.chosen_words, None) for i in iterations if i.chosen_words is not None}),
        Line("rejected", {i.model: (i.rejected_words, None) for i in iterations if i.rejected_words is not None}),
    ]
    scores = [
        Line("chosen", {i.model: (i.chosen_mean, None) for i in iterations if i.chosen_mean is not None}),
        Line("rejected", {i.model: (i.rejected_mean, None) for i in iterations if i.rejected_mean is not None}),
    ]
    drawn = []
    for caption, unit, lines in (
        ("Mean length", "words", lengths),
        ("Mean score in the pairs of each model", "points of the rubric", scores),
    ):
        shown = [line for line in lines if line.points]
        if shown:
            bounds = from_zero(value for line in shown for value, _ in line.points.values())
            drawn.append((caption, model_plot(names, shown, unit, bounds)))
    return drawn


def training_drawings(training: Training) -> tuple[str, str, list[Drawing]]:
    """Title, note and plots of a training."""
    curves, skipped = training.curves, training.skipped
    percent = {"accuracy": [(step, 100 * value) for step, value in curves.get("accuracy", ())]}
    margin = _difference(curves.get("chosen_reward", ()), curves.get("rejected_reward", ()))
    rewards = {
        "chosen": curves.get("chosen_reward", ()),
        "rejected": curves.get("rejected_reward", ()),
        "margin": margin,
    }
    losses = {name: curves.get(key, ()) for name, key in (("loss", "loss"), ("preference loss", "preference_loss"))}
    panels: list[tuple[str, str, Mapping[str, Sequence[tuple[int, float]]], Bounds | None, Reference | None]] = [
        ("Loss", "nats", losses, None, None),
        ("Accuracy: pairs whose chosen reply gained more", "%", percent, _PERCENT, _HALF),
        ("Rewards", "β times log-ratio to the reference", rewards, None, None),
        ("Gradient norm", "L2 norm", {"norm": curves.get("gradient_norm", ())}, None, None),
        ("Learning rate", "learning rate", {"rate": curves.get("learning_rate", ())}, None, None),
    ]
    drawn = []
    for caption, unit, found, bounds, reference in panels:
        shown = {name: points for name, points in found.items() if points}
        if shown:
            axis = bounds or from_zero(value for points in shown.values() for _, value in points)
            drawn.append((caption, step_plot(shown, unit, axis, skipped, reference)))
    state = "" if training.finished else " The training is not finished."
    marks = f" {len(skipped)} skipped, marked on the axis: loss or gradient was not finite." if skipped else ""
    thin = " Curves show means of adjacent steps." if training.steps > 250 else ""
    chosen = f" {training.selected}" if training.selected else ""
    left_out = f" {training.left_out}" if training.left_out else ""
    workers = f" {training.workers}" if training.workers else ""
    return training.title, f"{training.steps} optimizer steps.{marks}{thin}{state}{workers}{chosen}{left_out}", drawn


def _difference(left: Sequence[tuple[int, float]], right: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    other = dict(right)
    return [(step, value - other[step]) for step, value in left if step in other]


def _names(summary: RunSummary) -> list[str]:
    """The models that have figures, in the order of the run."""
    found = {model.model: None for model in summary.models} | {i.model: None for i in summary.iterations}
    return sorted(found, key=lambda name: (len(name), name))


def _over_models(
    summary: RunSummary, lines: list[Line], unit: str, bounds: Bounds, reference: Reference | None = None
) -> Markup:
    return model_plot([model.model for model in summary.models], lines, unit, bounds, reference)


def _agreement_line(label: str, models: Iterable[ModelSummary], figure: str, factor: float = 1) -> Line:
    """A line of one of `evaluation.agreement.FIGURES`, times `factor`."""
    found = {m.model: (getattr(m, figure), m.intervals.get(figure)) for m in models}
    return Line(label, {name: _scaled(*point, factor) for name, point in found.items() if point[0] is not None})


def _scaled(mean: float, interval: Sequence[float] | None, factor: float) -> tuple[float, Bounds | None]:
    return factor * mean, None if interval is None else (factor * interval[0], factor * interval[1])


def _score_interval(model: ModelSummary) -> Bounds | None:
    return None if model.score_low is None or model.score_high is None else (model.score_low, model.score_high)
