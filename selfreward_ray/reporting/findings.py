"""Answers to "did it get better?": comparisons of two models on the same held-out prompts, in words.

To add a kind of finding, write a function that makes one from two `Evaluated` models and add it to `KINDS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from selfreward_ray.evaluation.differences import RankedPairs, accuracy_difference, mean_difference
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.reporting.formatting import percent
from selfreward_ray.reporting.instruments import Instruments

Outcome = Literal["better", "worse", "not significant", "not measured"]


@dataclass(frozen=True)
class Finding:
    """One comparison, or what keeps it from being made."""

    kind: str
    """What is compared: the answers or the judge."""
    models: str
    """The models, as in ``M2 against M1``."""
    outcome: Outcome
    text: str
    """One or two sentences with the difference, its interval and the number of prompts, or with the remedy."""
    measure: str = ""
    """By what the models are compared, as in ``head to head`` or ``pairwise accuracy``."""
    but: str = ""
    """What restricts the outcome, in a few words; empty if nothing does."""


@dataclass(frozen=True)
class Evaluated:
    """What the evaluation of a model measured on each held-out prompt."""

    model: str
    scores: Mapping[str, float] = field(default_factory=dict)
    """Score of the answer by its id, in percent of the scorer's maximum; empty if the recipe has no scorer."""
    spearmans: Mapping[str, float] = field(default_factory=dict)
    """Spearman's correlation of the model's verdicts with the human ranks, by set id."""
    ranked: RankedPairs = field(default_factory=dict)
    against: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Outcomes of its answers head to head with those of earlier models, by their names. It is the left side."""
    parent: str | None = None
    """The model that it was trained from; None if that is the one before it."""


@dataclass(frozen=True)
class AddedComparison:
    """A comparison of two sides that a user added to the run (`selfreward compare`)."""

    name: str
    """Of its folder."""
    left_title: str
    right_title: str
    left: str
    """Where the replies of the left side are."""
    right: str
    judge: str
    outcomes: Mapping[str, Any]
    """The fields of `evaluation.outcomes.Outcomes`."""
    judge_title: str
    """The end of the path of `judge`."""
    caution: str = ""
    """Why the result says little; empty if there is no reason."""


def findings(
    evaluated: Sequence[Evaluated],
    by: Instruments,
    held_out: bool,
    models: int,
    comparisons: Sequence[AddedComparison] = (),
) -> tuple[Finding, ...]:
    """All comparisons of each model with the one that it was trained from and with M1, kind by kind; last, those
    that users added.

    `by` says what measured them, `held_out` whether the recipe has held-out sets, `models` how many models the run is
    to have.
    """
    return _of_models(evaluated, by, held_out, models, bool(comparisons)) + tuple(map(_added, comparisons))


def by_models(found: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """The findings on the same models together, in the order in which the models are first compared."""
    grouped: dict[str, list[Finding]] = {}
    for finding in found:
        grouped.setdefault(finding.models, []).append(finding)
    return list(grouped.items())


def _of_models(
    evaluated: Sequence[Evaluated], by: Instruments, held_out: bool, models: int, compared: bool
) -> tuple[Finding, ...]:
    if not held_out:
        return (
            _not_measured("Answers and judge", "The recipe holds nothing out for evaluation: set seed_data.held_out."),
        )
    if len(evaluated) < 2:
        return (_nothing_to_compare(evaluated, models),)
    by_name = {model.model: model for model in evaluated}
    trained = [(by_name.get(after.parent or "", before), after) for before, after in pairwise(evaluated)]
    pairs = trained + [(evaluated[0], after) for before, after in trained if before != evaluated[0]]
    found = [finding for kind in KINDS for before, after in pairs if (finding := kind(before, after, by))]
    unscored = by.scorer is None and not compared and not any(model.against for model in evaluated)
    return (*([_no_scorer()] if unscored else []), *found)


def head_to_head_finding(before: Evaluated, after: Evaluated, by: Instruments) -> Finding | None:
    """The win rate of the later model's answers by the judge of the run; None if they were not compared."""
    outcomes = after.against.get(before.model)
    if outcomes is None:
        return None
    of_whom, over = (after.model, before.model), "held-out prompts"
    return _win_finding("Head to head", _names(before, after), by.judge, of_whom, outcomes, over)


def _added(comparison: AddedComparison) -> Finding:
    sides = (comparison.left_title, comparison.right_title)
    names = f"{comparison.name}: {sides[0]} against {sides[1]}"
    found = _win_finding(
        "Comparison", names, f"the judge {comparison.judge_title}", sides, comparison.outcomes, "prompts"
    )
    return replace(found, text=f"{found.text} {comparison.caution}".rstrip())


def compared_pairs(outcomes: Mapping[str, Any]) -> int:
    """Number of compared pairs."""
    return int(outcomes["left"] + outcomes["right"] + outcomes["ties"])


def _win_finding(
    kind: str, names: str, judge: str, sides: tuple[str, str], outcomes: Mapping[str, Any], over: str
) -> Finding:
    """Whether the first of two `sides`, the left one of the `outcomes`, wins more often than the second."""
    if outcomes["left_win_rate"] is None:
        nothing = "The judge could compare no answers of the two."
        return Finding(kind, names, "not measured", nothing, kind.lower())
    low, high = outcomes["left_win_interval"]
    found = _side_of_half(low, high)
    at_equal_length, but = _at_equal_length(found, outcomes)
    reason = " The interval includes 50 %." if found == "not significant" else ""
    text = (
        f"By {judge}, {sides[0]} wins {percent(outcomes['left_win_rate'])} % against {sides[1]} "
        f"(95 % interval {percent(low)} to {percent(high)}), on the same {compared_pairs(outcomes)} {over}: "
        f"{outcomes['left']} wins, {outcomes['right']} losses, and {outcomes['ties']} ties that count "
        f"half.{reason}{at_equal_length}"
    )
    return Finding(kind, names, found, text, kind.lower(), but)


def _side_of_half(low: float, high: float) -> Outcome:
    """What a win rate with this interval says of the left side."""
    return "better" if low > 0.5 else "worse" if high < 0.5 else "not significant"


def _at_equal_length(found: Outcome, outcomes: Mapping[str, Any]) -> tuple[str, str]:
    """A sentence on the win rate at equal length, and in a few words how it differs from what was `found`; empty texts
    where it was not estimated."""
    rate = outcomes["length_controlled_win_rate"]
    if rate is None:
        return "", ""
    low, high = outcomes["length_controlled_interval"]
    there = _side_of_half(low, high)
    if there == found:
        across = (rate - 0.5) * (outcomes["left_win_rate"] - 0.5) < 0
        but, more = "", ", on the other side of 50 %" if across else ""
    elif there == "not significant":
        but, more = "not significant at equal length", ", which is not significant: this interval includes 50 %"
    else:
        but, more = f"{there} at equal length", f", which is {there}: this interval does not include 50 %"
    return (
        f" At equal length it would win {percent(rate)} % (95 % interval {percent(low)} to {percent(high)}){more}.",
        but,
    )


def score_finding(before: Evaluated, after: Evaluated, by: Instruments) -> Finding | None:
    """The difference of the scores of two models' answers; None without a scorer."""
    if by.scorer is None:
        return None
    difference = mean_difference(before.scores, after.scores)
    if difference is None:
        text = f"The scorer {by.scorer} gave no score to answers of both models to the same prompt."
        return Finding("Answers", _names(before, after), "not measured", text, f"{by.scorer} score")
    return _finding("Answers", before, after, difference, f"{by.scorer} score", _prompts(before.scores, after.scores))


def accuracy_finding(before: Evaluated, after: Evaluated, by: Instruments) -> Finding | None:
    """The difference of the pairwise accuracies of two models as judges."""
    del by
    difference = accuracy_difference(before.ranked, after.ranked)
    if difference is None:
        text = "No held-out set has two replies of different ranks that both models could judge."
        return Finding("Judge", _names(before, after), "not measured", text, "pairwise accuracy")
    margin = None if difference.margin is None else 100 * difference.margin
    percents = Estimate(100 * difference.mean, margin)
    return _finding("Judge", before, after, percents, "pairwise accuracy", _sets(before.ranked, after.ranked))


def spearman_finding(before: Evaluated, after: Evaluated, by: Instruments) -> Finding | None:
    """The difference of Spearman's correlations of two models as judges; None if no set has one."""
    del by
    difference = mean_difference(before.spearmans, after.spearmans)
    if difference is None:
        return None
    over = _sets(before.spearmans, after.spearmans)
    return _finding("Judge", before, after, difference, "Spearman", over, unit="", digits=3)


@dataclass(frozen=True)
class _Over:
    """The prompts or sets on which two models are compared."""

    name: str
    """With their number, as in ``60 held-out prompts``."""
    count: int
    alike: bool
    """Whether both models have the same value on each."""


def _prompts(before: Mapping[str, Any], after: Mapping[str, Any]) -> _Over:
    return _over(before, after, "held-out prompts")


def _sets(before: Mapping[str, Any], after: Mapping[str, Any]) -> _Over:
    return _over(before, after, "ranked sets")


def _over(before: Mapping[str, Any], after: Mapping[str, Any], what: str) -> _Over:
    common = before.keys() & after.keys()
    return _Over(f"{len(common)} {what}", len(common), all(before[key] == after[key] for key in common))


KINDS: tuple[Callable[[Evaluated, Evaluated, Instruments], Finding | None], ...] = (
    head_to_head_finding,
    score_finding,
    accuracy_finding,
    spearman_finding,
)
"""Each makes a finding of an earlier and a later model and of what measured them, or None where it does not apply."""


_MOST_DIGITS = 6
"""Decimals beyond which a difference is one of rounding errors."""


def outcome(difference: Estimate) -> Outcome:
    """``better`` or ``worse`` if the 95 % interval is above or below 0; without an interval nothing is significant."""
    if difference.low is not None and difference.low > 0:
        return "better"
    if difference.high is not None and difference.high < 0:
        return "worse"
    return "not significant"


def _finding(
    kind: str, before: Evaluated, after: Evaluated, difference: Estimate, what: str, over: _Over,
    unit: str = "percentage points", digits: int = 1,
) -> Finding:  # fmt: skip
    """The `difference` of two models in words. Decimals are added until the ends of its interval differ."""
    names, margin = _names(before, after), difference.margin
    if over.alike and over.count > 1:
        text = f"The {what} of {after.model} is the same as that of {before.model} on each of the {over.name}."
        return Finding(kind, names, "not significant", text, what)
    found = outcome(difference)
    while margin and digits < _MOST_DIGITS and round(margin, digits) == 0:
        digits += 1
    size = f"{abs(difference.mean):.{digits}f} {unit}".strip()
    same = round(abs(difference.mean), digits) == 0
    change = f"is as high as that of {before.model}" if same else (
        f"is {size} {'higher' if difference.mean > 0 else 'lower'} than that of {before.model}"
    )  # fmt: skip
    if difference.low is None or difference.high is None:
        interval = "one prompt gives no interval"
    elif round(difference.high - difference.low, _MOST_DIGITS) == 0:
        interval = "the difference is the same on each, so that it has no interval"
    else:
        interval = f"95 % interval {_signed(difference.low, digits)} to {_signed(difference.high, digits)}"
    reason = " The interval includes 0." if found == "not significant" and margin is not None else ""
    text = f"The {what} of {after.model} {change} ({interval}), on the same {over.name}.{reason}"
    return Finding(kind, names, found, text, what)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _names(before: Evaluated, after: Evaluated) -> str:
    return f"{after.model} against {before.model}"


def _not_measured(kind: str, text: str) -> Finding:
    return Finding(kind, "all models", "not measured", text)


def _nothing_to_compare(evaluated: Sequence[Evaluated], models: int) -> Finding:
    if models < 2:
        return _not_measured(
            "Answers and judge", "The run makes one model, M1: set iterations above 0 to train on its own preferences."
        )
    so_far = f"Only {evaluated[0].model} is evaluated so far" if evaluated else "No model is evaluated yet"
    return _not_measured("Answers and judge", f"{so_far}. The first comparison appears when M2 is evaluated.")


def _no_scorer() -> Finding:
    text = (
        "No judge has compared the answers (evaluation.head_to_head), and no program has scored them "
        "(evaluation.scorer): set one of the two in a new run. `selfreward compare` with --out RUN/comparisons/NAME "
        "lets a judge compare two models' answers of this one."
    )
    return _not_measured("Answers", text)
