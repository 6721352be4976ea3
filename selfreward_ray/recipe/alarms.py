"""The recipe's section on alarms: when a run warns, stops, or goes back to an earlier model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator, model_validator

from selfreward_ray.recipe.section import Section

# YAML reads an unquoted off as false.
Reaction = Annotated[
    Literal["off", "warn", "stop", "rollback"], BeforeValidator(lambda given: "off" if given is False else given)
]

Share = Annotated[float, Field(ge=0, le=1)]


class Alarm(Section):
    """What every alarm has."""

    reaction: Reaction = "warn"
    """What happens when it fires. ``off`` ignores it. ``warn`` prints a line and goes on. ``stop`` ends the run, which
    keeps everything. ``rollback`` rejects the model that is to blame, and trains the next one from the model before
    it."""

    @model_validator(mode="before")
    @classmethod
    def _its_fields(cls, given: Any) -> Any:
        if isinstance(given, str | bool):
            raise ValueError("an alarm has the fields threshold and reaction: set its reaction")
        return given

    @field_validator("threshold", mode="before", check_fields=False)
    @classmethod
    def _a_number(cls, given: Any) -> Any:
        if isinstance(given, bool):
            raise ValueError("a threshold is a number; to turn the alarm off, set its reaction to off")
        return given


class ScoreSaturation(Alarm):
    """The judge gives nearly all replies one score. Measured on held-out replies and on candidates."""

    threshold: Share = 0.9
    """Maximum share of the readable verdicts that may have the most common score, 0 to 1."""


class ScoreEntropy(Alarm):
    """The judge uses few scores. Measured on held-out replies and on candidates."""

    threshold: float = Field(0.5, ge=0)
    """Minimum Shannon entropy of the scores of the readable verdicts, in bits. One score has 0 bits, six scores that
    are equally common have 2.6."""


class TiedPrompts(Alarm):
    """Many prompts give no pair, because all of their candidates have the same mean score."""

    threshold: Share = 0.8
    """Maximum share of such prompts, among those with two scored candidates or more, 0 to 1."""


class UnreadableVerdicts(Alarm):
    """Many verdicts have no readable score. Measured on held-out replies and on candidates."""

    threshold: Share = 0.3
    """Maximum share of the verdicts, 0 to 1."""


class PositionBias(Alarm):
    """In comparisons of two answers the judge prefers a position. Measured with ``head_to_head: pairwise`` only."""

    threshold: Share = 0.5
    """Maximum share of the pairs for which both orders prefer the reply at the same position, 0 to 1. A judge that
    chooses at random has 0.5, one that always prefers the first reply has 1."""


class ChosenLength(Alarm):
    """Chosen replies are longer than rejected ones: the judge may prefer length."""

    threshold: PositiveFloat = 1.5
    """Maximum ratio of their mean lengths in words."""


class AnswerLength(Alarm):
    """A model's answers to the held-out prompts are longer than those of the model that it was trained from."""

    threshold: PositiveFloat = 1.5
    """Maximum ratio of their mean lengths in words."""


class Unfinished(Alarm):
    """Replies are cut off by the length limit. Measured on held-out answers and on candidates."""

    threshold: Share = 0.5
    """Maximum share of the replies, 0 to 1."""


class Repetitive(Alarm):
    """Replies repeat themselves. Measured on held-out answers and on candidates."""

    threshold: Share = 0.3
    """Maximum share of the replies in which fewer than half of the four-word sequences are different, 0 to 1."""


class Diversity(Alarm):
    """A model's answers to the held-out prompts have fewer different bigrams than those of the model that it was
    trained from."""

    threshold: Share = 0.7
    """Minimum ratio of the two values of distinct-2, 0 to 1."""


class Duplicates(Alarm):
    """Many candidates have the same text as another candidate of their prompt."""

    threshold: Share = 0.5
    """Maximum share of the candidates, 0 to 1."""


class JudgeAtChance(Alarm):
    """The judge is not better than chance on the held-out rankings. This is the gate before sampling: it is measured
    as soon as a model that is to judge candidates is evaluated, for the first time after M1."""

    threshold: float = Field(0.0, ge=-1, le=1)
    """The alarm fires if the mean of Spearman's correlation of scores and human ranks, over sets, is at or below this.
    Chance is 0, however often the judge gives equal scores. The estimate decides and not its interval, because the
    interval of a few held-out sets includes chance for good judges too."""
    reaction: Reaction = "stop"
    """What happens when it fires, as for every alarm. The default stops the run before its sampling is paid for."""


class JudgeUnproven(Alarm):
    """The judge may be better than chance, but the held-out rankings do not show it."""

    threshold: float = Field(0.0, ge=-1, le=1)
    """The alarm fires if the lower end of the 95 % interval of Spearman's correlation is at or below this."""


class JudgeWorse(Alarm):
    """A model judges worse than the model that it was trained from."""

    threshold: float = Field(0.0, ge=-1, le=1)
    """The alarm fires if the 95 % interval of the paired difference of their pairwise accuracies on the held-out sets,
    a difference of fractions, lies below this."""


class WinRate(Alarm):
    """A model's answers lose against those of the model that it was trained from."""

    threshold: Share = 0.5
    """The alarm fires if the 95 % interval of the win rate, 0 to 1 with ties as half wins, lies below this."""


class LossRise(Alarm):
    """A training has destroyed its model, most often by a learning rate that is too high."""

    threshold: PositiveFloat = 2.0
    """Maximum rise of the loss, from the first optimizer step to the mean of the last tenth of them, in nats per token.
    2 nats are a perplexity 7.4 times as high. DPO counts the loss of the chosen replies' tokens."""
    reaction: Reaction = "stop"
    """What happens when it fires, as for every alarm. The default stops the run."""


class SkippedSteps(Alarm):
    """Optimizer steps were skipped, because their loss or gradient was not finite."""

    threshold: Share = 0.05
    """Maximum share of a training's steps, 0 to 1. See ``training.max_skipped_steps`` too."""


class ChosenLogprob(Alarm):
    """DPO makes the chosen replies less likely."""

    threshold: PositiveFloat = 0.5
    """Maximum fall of their mean log-probability, from the first to the last tenth of the optimizer steps, in nats per
    token."""


class RewardMargin(Alarm):
    """DPO does not separate chosen from rejected replies."""

    threshold: float = 0.0
    """Minimum mean reward margin in the last tenth of the optimizer steps, in units of β times nats. It is 0 when DPO
    starts."""


class InstantAccuracy(Alarm):
    """DPO tells chosen from rejected replies at once: they may differ by something trivial, such as their length."""

    threshold: Share = 0.99
    """Maximum mean accuracy in the first tenth of the optimizer steps after the first one, but in three steps at least,
    0 to 1."""


class Alarms(Section):
    """When a run warns, stops, or goes back to an earlier model. Alarms change no step, and may change in a run."""

    score_saturation: ScoreSaturation = ScoreSaturation()
    score_entropy: ScoreEntropy = ScoreEntropy()
    tied_prompts: TiedPrompts = TiedPrompts()
    unreadable_verdicts: UnreadableVerdicts = UnreadableVerdicts()
    position_bias: PositionBias = PositionBias()
    chosen_length: ChosenLength = ChosenLength()
    answer_length: AnswerLength = AnswerLength()
    unfinished: Unfinished = Unfinished()
    repetitive: Repetitive = Repetitive()
    diversity: Diversity = Diversity()
    duplicates: Duplicates = Duplicates()
    judge_at_chance: JudgeAtChance = JudgeAtChance()
    judge_unproven: JudgeUnproven = JudgeUnproven()
    judge_worse: JudgeWorse = JudgeWorse()
    win_rate: WinRate = WinRate()
    loss_rise: LossRise = LossRise()
    skipped_steps: SkippedSteps = SkippedSteps()
    chosen_logprob: ChosenLogprob = ChosenLogprob()
    reward_margin: RewardMargin = RewardMargin()
    instant_accuracy: InstantAccuracy = InstantAccuracy()
