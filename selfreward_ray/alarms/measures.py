"""What each alarm measures of a finished step, and the words of its message.

To add an alarm, add a section to `selfreward_ray.recipe.alarms` and a line to `ALARMS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log2
from typing import Any, Literal

from selfreward_ray.evaluation.intervals import Estimate, fraction
from selfreward_ray.recipe.alarms import Reaction
from selfreward_ray.reporting.formatting import percent

TRAININGS = frozenset({"baseline", "sft", "dpo"})
COMPARISONS = frozenset({"compare", "head_to_head"})


@dataclass(frozen=True)
class Finished:
    """A finished step as alarms see it."""

    metrics: Mapping[str, Any]
    """Those of its manifest."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """Those of the evaluation of the model that this step's model was made from; empty if there is none."""
    accuracy_change: Callable[[], Estimate | None] = lambda: None
    """Reads the paired difference of the two models' pairwise accuracies as judges, as a fraction."""
    judges_on: bool = False
    """Whether the step's model is to judge candidates in this run."""
    with_parent: bool = False
    """Whether the step compares its model with the one that it was made from."""


Measure = Callable[[Finished], float | None]
"""The measured value; None if the step did not measure it, and then the alarm does not fire."""


@dataclass(frozen=True)
class AlarmKind:
    """An alarm: when it is measured, of what, and what its message says."""

    name: str
    """Its field in the recipe's section `alarms`."""
    after: frozenset[str]
    """Names of the planned steps after which it is measured."""
    measure: Measure
    fires: Literal["above", "below", "at or below"]
    """Where the value lies when it fires, as seen from the threshold."""
    shown: Callable[[float], str]
    """Formats the value and the threshold, with their unit."""
    says: str
    """What was measured; ``{}`` stands for the value."""
    remedy: str
    rejecting_helps: bool = False
    """Whether the remedy begins with a rejection of the model, where the recipe does not ask for that already."""

    def fired(self, value: float, threshold: float) -> bool:
        """Whether `value` is beyond `threshold`."""
        if self.fires == "above":
            return value > threshold
        return value < threshold if self.fires == "below" else value <= threshold

    def message(self, value: float, threshold: float, reaction: Reaction) -> str:
        """One or two sentences with value, threshold and a remedy beyond the `reaction` that is set."""
        remedy = self.remedy
        if self.rejecting_helps and reaction != "rollback":
            remedy = f"Reject the model (alarms.{self.name}.reaction=rollback), or {remedy[0].lower()}{remedy[1:]}"
        limit = {"above": "at most", "below": "at least", "at or below": "above"}[self.fires]
        return f"{self.says.format(self.shown(value))} (expected: {limit} {self.shown(threshold)}). {remedy}."


def _percent(share: float) -> str:
    return f"{percent(share)} %"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times"


def _nats(value: float) -> str:
    return f"{value:.2f} nats per token"


def _plain(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _of(*path: str) -> Measure:
    """The value under the first of `path` that the metrics have; names inside a mapping are joined by a dot."""

    def measure(step: Finished) -> float | None:
        return next((value for name in path if (value := _find(step.metrics, name)) is not None), None)

    return measure


def _find(metrics: Mapping[str, Any], name: str) -> Any:
    found: Any = metrics
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _scores(step: Finished) -> list[int]:
    """Number of verdicts of each score; empty if none was readable."""
    return list((_find(step.metrics, "candidates.scores") or _find(step.metrics, "scores") or {}).values())


def _saturation(step: Finished) -> float | None:
    counts = _scores(step)
    return fraction(max(counts, default=0), sum(counts))


def _entropy(step: Finished) -> float | None:
    counts = _scores(step)
    shares = [count / sum(counts) for count in counts if count]
    return sum(-share * log2(share) for share in shares) if shares else None


def position_bias(outcomes: Mapping[str, Any]) -> float | None:
    """The share of compared pairs for which both orders prefer the reply at one place; None without a pair."""
    counts = [outcomes.get(name, 0) for name in ("left", "right", "ties")]
    return fraction(outcomes.get("first_in_both", 0) + outcomes.get("second_in_both", 0), sum(counts))


def _position_bias(step: Finished) -> float | None:
    return position_bias(step.metrics.get("outcomes", {}))


def _chosen_length(step: Finished) -> float | None:
    rejected = _find(step.metrics, "candidates.rejected_words")
    return fraction(_find(step.metrics, "candidates.chosen_words"), rejected or 0)


def _growth(figure: str) -> Measure:
    """Ratio of a figure of the answers to that of the model before."""

    def measure(step: Finished) -> float | None:
        name = f"replies.{figure}"
        return fraction(_find(step.metrics, name), _find(step.before, name) or 0)

    return measure


def _agreement(step: Finished) -> Mapping[str, Any]:
    """By the verdicts as the loop averages them, where there are several."""
    return step.metrics.get("agreement_of_means") or step.metrics.get("agreement") or {}


def _spearman(step: Finished) -> float | None:
    return _agreement(step).get("spearman") if step.judges_on else None


def _spearman_low(step: Finished) -> float | None:
    found = _agreement(step)
    interval = (found.get("intervals") or {}).get("spearman")
    # At chance or below, the other alarm says it.
    return interval[0] if interval is not None and found["spearman"] > 0 else None


def _accuracy_change_high(step: Finished) -> float | None:
    change = step.accuracy_change()
    return None if change is None else change.high


def _win_rate_high(step: Finished) -> float | None:
    interval = _find(step.metrics, "outcomes.left_win_interval")
    return interval[1] if interval is not None and step.with_parent else None


def _skipped(step: Finished) -> float | None:
    return fraction(step.metrics.get("skipped_steps"), step.metrics.get("steps", 0))


_REPLIES = frozenset({"evaluate", "pair"})
"""Steps that have seen a model's replies and its verdicts."""
_EVALUATE, _PAIR, _DPO = frozenset({"evaluate"}), frozenset({"pair"}), frozenset({"dpo"})
_RUBRIC = "Read some verdicts in the report, and try another judge.rubric in a new run"

ALARMS: tuple[AlarmKind, ...] = (
    AlarmKind(
        "judge_at_chance", _EVALUATE, _spearman, "at or below", _plain,
        "the judge's mean Spearman correlation with the human rankings is {}, not better than chance",
        "Such a judge cannot choose pairs: use a larger model, more EFT examples, or another judge.rubric",
    ),
    AlarmKind(
        "judge_unproven", _EVALUATE, _spearman_low, "at or below", _plain,
        "the 95 % interval of the judge's Spearman correlation with the human rankings begins at {}: it is not "
        "shown to be better than chance",
        "More held-out sets (seed_data.held_out) make the interval narrower",
    ),
    AlarmKind(
        "judge_worse", _EVALUATE, _accuracy_change_high, "below", lambda v: f"{100 * v:.1f} points".replace("-", "−"),
        "the judge ranks held-out replies worse than the model before it: the 95 % interval of the difference in "
        "pairwise accuracy ends at {}",
        "Lower dpo.learning_rate, or keep judging rows in training (dpo.eft_weight)",
    ),
    AlarmKind(
        "score_saturation", _REPLIES, _saturation, "above", _percent,
        "{} of the verdicts have the same score",
        f"The judge hardly tells replies apart. {_RUBRIC}",
    ),
    AlarmKind(
        "score_entropy", _REPLIES, _entropy, "below", lambda v: f"{v:.2f} bits",
        "the scores of the verdicts have an entropy of {}",
        f"The judge uses few scores. {_RUBRIC}",
    ),
    AlarmKind(
        "unreadable_verdicts", _REPLIES, _of("candidates.unreadable", "agreement.unreadable"), "above", _percent,
        "{} of the verdicts have no readable score",
        "Set judge.constrained=true, raise judge.sampling.max_tokens, or use a rubric that the model can follow",
    ),
    AlarmKind(
        "tied_prompts", _PAIR, _of("candidates.tied_prompts"), "above", _percent,
        "all candidates have the same mean score for {} of the prompts, which give no pair",
        "Raise judge.verdicts, respond.candidates or respond.sampling.temperature, or use a finer rubric",
    ),
    AlarmKind(
        "position_bias", frozenset({"compare"}), _position_bias, "above", _percent,
        "the order of presentation decides {} of the comparisons",
        "Use another evaluation.judge, or evaluation.head_to_head=scores",
    ),
    AlarmKind(
        "chosen_length", _PAIR, _chosen_length, "above", _times,
        "chosen replies are {} as long as rejected ones",
        "The judge may prefer length: try pairs.policy=length-controlled, or another rubric",
    ),
    AlarmKind(
        "answer_length", _EVALUATE, _growth("mean_words"), "above", _times,
        "the answers to held-out prompts are {} as long as those of the model before",
        "Look at the length-controlled win rate, and try pairs.policy=length-controlled",
    ),
    AlarmKind(
        "unfinished", _REPLIES, _of("candidates.unfinished", "replies.unfinished"), "above", _percent,
        "the length limit cuts off {} of the replies",
        "Raise respond.sampling.max_tokens in a new run",
    ),
    AlarmKind(
        "repetitive", _REPLIES, _of("candidates.repetitive", "replies.repetitive"), "above", _percent,
        "{} of the replies repeat themselves",
        "Lower dpo.learning_rate, or set dpo.nll_weight above 0",
    ),
    AlarmKind(
        "diversity", _EVALUATE, _growth("distinct_2"), "below", _times,
        "distinct-2 of the answers to held-out prompts is {} that of the model before",
        "Lower dpo.learning_rate, or set dpo.nll_weight above 0",
    ),
    AlarmKind(
        "duplicates", _PAIR, _of("candidates.duplicates"), "above", _percent,
        "{} of the candidates have the same text as another candidate of their prompt",
        "Raise respond.sampling.temperature",
    ),
    AlarmKind(
        "loss_rise", TRAININGS, _of("course.loss_rise"), "above", _nats,
        "the loss rose by {}: the training has destroyed the model",
        "Lower the learning rate (sft.learning_rate, dpo.learning_rate) in a new run",
    ),
    AlarmKind(
        "skipped_steps", TRAININGS, _skipped, "above", _percent,
        "loss or gradient was not finite in {} of the optimizer steps, which were skipped",
        "Lower the learning rate, or look at the examples of these steps",
    ),
    AlarmKind(
        "chosen_logprob", _DPO, _of("course.chosen_logprob_fall"), "above", _nats,
        "the log-probability of chosen replies fell by {}",
        "Lower dpo.learning_rate, raise dpo.beta, or set dpo.nll_weight above 0",
    ),
    AlarmKind(
        "reward_margin", _DPO, _of("course.final_margin"), "below", _plain,
        "the reward margin at the end of the training is {}: it does not separate chosen from rejected replies",
        "Raise dpo.learning_rate or dpo.epochs, or look at the pairs in the report",
    ),
    AlarmKind(
        "instant_accuracy", _DPO, _of("course.early_accuracy"), "above", _percent,
        "after the first optimizer step the accuracy is {}",
        "Chosen and rejected replies may differ by something trivial: look at the pairs in the report",
    ),
    AlarmKind(
        "win_rate", COMPARISONS, _win_rate_high, "below", _percent,
        "the answers lose against those of the model before: the 95 % interval of the win rate ends at {}",
        "Lower dpo.learning_rate in a new run", rejecting_helps=True,
    ),
)  # fmt: skip
"""All alarms; those that say most about a model or a judge come first."""
