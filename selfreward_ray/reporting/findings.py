"""Answers to "did it get better?": comparisons of two models on the same held-out prompts, in words.

To add a kind of finding, write a function that makes one from two `Evaluated` models and add it to `KINDS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from selfreward_ray.evaluation.differences import RankedPairs, accuracy_difference, mean_difference
from selfreward_ray.evaluation.intervals import Estimate
from selfreward_ray.reporting.formatting import percent

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
    scorer: str | None,
    held_out: bool,
    models: int,
    comparisons: Sequence[AddedComparison] = (),
) -> tuple[Finding, ...]:
    """All comparisons of each model with the one that it was trained from and with M1, kind by kind; last, those
    that users added.

    `held_out` says whether the recipe has held-out sets, `models` how many models the run is to have.
    """
    return _of_models(evaluated, scorer, held_out, models, bool(comparisons)) + tuple(map(_added, comparisons))


def _of_models(
    evaluated: Sequence[Evaluated], scorer: str | None, held_out: bool, models: int, compared: bool
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
    found = [finding for kind in KINDS for before, after in pairs if (finding := kind(before, after, scorer))]
    unscored = scorer is None and not compared and not any(model.against for model in evaluated)
    return (*([_no_scorer()] if unscored else []), *found)


def head_to_head_finding(before: Evaluated, after: Evaluated, scorer: str | None) -> Finding | None:
    """The win rate of the later model's answers by the judge of the run; None if they were not compared."""
    del scorer
    outcomes = after.against.get(before.model)
    if outcomes is None:
        return None
    of_whom, over = (after.model, before.model), "held-out prompts"
    return _win_finding("Head to head", _names(before, after), "the judge of the run", of_whom, outcomes, over)


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
        return Finding(kind, names, "not measured", "The judge could compare no answers of the two.")
    low, high = outcomes["left_win_interval"]
    found: Outcome = "better" if low > 0.5 else "worse" if high < 0.5 else "not significant"
    controlled = outcomes["length_controlled_win_rate"]
    at_equal_length = "" if controlled is None else f" At equal length it would win {percent(controlled)} %."
    reason = " The interval includes 50 %." if found == "not significant" else ""
    text = (
        f"By {judge}, {sides[0]} wins {percent(outcomes['left_win_rate'])} % against {sides[1]} "
        f"(95 % interval {percent(low)} to {percent(high)}), on the same {compared_pairs(outcomes)} {over}: "
        f"{outcomes['left']} wins, {outcomes['right']} losses, and {outcomes['ties']} ties that count "
        f"half.{reason}{at_equal_length}"
    )
    return Finding(kind, names, found, text)


def score_finding(before: Evaluated, after: Evaluated, scorer: str | None) -> Finding | None:
    """The difference of the scores of two models' answers; None without a scorer."""
    if scorer is None:
        return None
    difference = mean_difference(before.scores, after.scores)
    count = len(before.scores.keys() & after.scores.keys())
    if difference is None:
        text = f"The scorer {scorer} gave no score to answers of both models to the same prompt."
        return Finding("Answers", _names(before, after), "not measured", text)
    return _finding(
        "Answers", before, after, difference, f"{scorer} score", "percentage points", 1, f"{count} held-out prompts"
    )


def accuracy_finding(before: Evaluated, after: Evaluated, scorer: str | None) -> Finding | None:
    """The difference of the pairwise accuracies of two models as judges."""
    del scorer
    difference = accuracy_difference(before.ranked, after.ranked)
    if difference is None:
        text = "No held-out set has two replies of different ranks that both models could judge."
        return Finding("Judge", _names(before, after), "not measured", text)
    count = len(before.ranked.keys() & after.ranked.keys())
    margin = None if difference.margin is None else 100 * difference.margin
    percents = Estimate(100 * difference.mean, margin)
    return _finding(
        "Judge", before, after, percents, "pairwise accuracy", "percentage points", 1, f"{count} ranked sets"
    )


def spearman_finding(before: Evaluated, after: Evaluated, scorer: str | None) -> Finding | None:
    """The difference of Spearman's correlations of two models as judges; None if no set has one."""
    del scorer
    difference = mean_difference(before.spearmans, after.spearmans)
    if difference is None:
        return None
    count = len(before.spearmans.keys() & after.spearmans.keys())
    return _finding("Judge", before, after, difference, "Spearman", "", 3, f"{count} ranked sets")


KINDS: tuple[Callable[[Evaluated, Evaluated, str | None], Finding | None], ...] = (
    head_to_head_finding,
    score_finding,
    accuracy_finding,
    spearman_finding,
)
"""Each makes a finding of an earlier and a later model and the scorer's name, or None where it does not apply."""


def outcome(difference: Estimate) -> Outcome:
    """``better`` or ``worse`` if the 95 % interval is above or below 0; without an interval nothing is significant."""
    if difference.low is not None and difference.low > 0:
        return "better"
    if difference.high is not None and difference.high < 0:
        return "worse"
    return "not significant"


def _finding(
    kind: str, before: Evaluated, after: Evaluated, difference: Estimate, what: str, unit: str, digits: int, over: str
) -> Finding:
    found = outcome(difference)
    size = f"{abs(difference.mean):.{digits}f} {unit}".strip()
    same = round(abs(difference.mean), digits) == 0
    change = f"is as high as that of {before.model}" if same else (
        f"is {size} {'higher' if difference.mean > 0 else 'lower'} than that of {before.model}"
    )  # fmt: skip
    if difference.low is None or difference.high is None:
        interval = "one prompt gives no interval"
    else:
        interval = f"95 % interval {_signed(difference.low, digits)} to {_signed(difference.high, digits)}"
    reason = " The interval includes 0." if found == "not significant" and difference.margin is not None else ""
    text = f"The {what} of {after.model} {change} ({interval}), on the same {over}.{reason}"
    return Finding(kind, _names(before, after), found, text)


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
