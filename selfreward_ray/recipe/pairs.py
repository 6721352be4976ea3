"""The recipe's section of preference pairs."""

from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator

from selfreward_ray.recipe.section import Section


class Pairs(Section):
    """Preference pairs from judged candidates (section 2.3)."""

    policy: Literal["best-worst", "positive-only", "length-controlled", "all-pairs", "preference-strength"] = (
        "best-worst"
    )
    """Which training rows a judged prompt gives. ``best-worst`` makes the paper's pair, the highest mean score against
    the lowest. ``positive-only`` takes the best replies as SFT examples (section 2.3). ``length-controlled`` prefers
    short replies among the best. ``all-pairs`` makes a pair of every two candidates that differ by `margin`.
    ``preference-strength`` makes the paper's pair if the verdicts support it."""
    flags: tuple[Literal["empty", "opening", "repeated", "constant"], ...] = (
        "empty",
        "opening",
        "repeated",
        "constant",
    )
    """Which replies cannot be chosen, because judges may be deceived by them. ``empty`` has nothing but white space,
    punctuation or markup; symbols such as ``{}``, ``==`` and emoji are content. ``opening`` is one line that ends with
    a colon. ``repeated`` is the prompt again. ``constant`` is one text for many prompts: see `constant_share`,
    `label_words` and `labels`. The paper has no such rule."""
    constant_share: float = Field(0.02, gt=0, le=1)
    """``constant``: a text that answers more than this share of all prompts, and at least five of them, cannot be
    chosen, unless it is found to be an answer of the task, such as the label of a classification."""
    label_words: NonNegativeInt = 2
    """``constant``: the maximum length in words of a text that counts as a label without being named by the prompts.
    Two characters count as a word where no spaces are written between words, and so does a short run of kana or Thai.
    Longer texts must be in the prompts themselves to count as an answer. 0 finds no answers: then only `labels` may be
    given to many prompts."""
    labels: tuple[str, ...] = ()
    """Replies that are never flagged, for example ``[Positive, Negative]``. Case, white space, punctuation and markup
    do not matter."""
    positive_mean: float = 5
    """``positive-only``: the minimum mean score, in points of the rubric, of a reply that is trained on. 5 is the best
    score of the packaged rubrics."""
    band: float = Field(0.2, ge=0, lt=0.5)
    """``length-controlled``: replies whose mean is within this fraction of the range of means from its upper or lower
    end count as equally good or bad. Among these, length decides."""
    margin: float = Field(1.0, gt=0)
    """``all-pairs``: the minimum difference of the two means of a pair, in points of the rubric."""
    min_confidence: float = Field(0.75, ge=0.5, le=1)
    """``preference-strength``: a pair is weak if the probability that its label is right, estimated from the spread of
    the verdicts, is below this."""
    weak: Literal["drop", "soften"] = "drop"
    """``preference-strength``: what happens to a weak pair. ``drop`` drops it; ``soften`` trains on it with label
    smoothing."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_texts(cls, labels: object) -> object:
        """YAML reads ``yes``, ``no`` and ``1`` as truth values and numbers."""
        if isinstance(labels, list) and any(not isinstance(label, str) for label in labels):
            raise ValueError("labels are texts; quote those that YAML reads as something else, such as 'yes' and '1'")
        return labels
