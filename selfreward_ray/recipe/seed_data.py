"""The recipe's section on seed data, and how rows that users give are read."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.section import Section

FormatName = Literal[
    "oasst-tree",
    "oasst-message",
    "ultrafeedback",
    "nectar",
    "ranked",
    "helpsteer",
    "pku-saferlhf",
    "shp",
    "helpsteer3",
    "helpsteer-preference",
    "arena",
    "arena-votes",
    "kto",
    "kto-tag",
    "preference",
    "scored",
    "vote",
    "chat",
    "sharegpt",
    "conversation",
    "prompt-completion",
    "prompt-response",
    "orca",
    "question-answer",
    "xlam",
    "query-response",
    "dolly",
    "instruction",
    "text",
]
"""The names of `seed.readers.FORMATS`."""


def value_key(value: object) -> str:
    """A value of a row as `RowReading.values` names it: ``1.0`` is ``1``, and ``True`` is ``true``."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return str(whole).strip().casefold()


class RowReading(Section):
    """How the rows of a source are read: their format, their columns, and what happens to rows that cannot be used."""

    format: FormatName | None = None
    """Format of the rows of `source`, by name; null detects it from their fields. The manual's page on seed data shows
    a row of each."""
    columns: dict[str, str] = Field({})
    """Which column of `source` holds which field of the format, where the names differ: ``{prompt: question, chosen:
    answer}`` reads the column ``question`` as the prompt. A column inside an object is named with a dot
    (``answer.text``)."""
    values: dict[str, dict[str, str]] = Field({})
    """What the values of a field mean, where the names differ, in lower or upper case: ``{role: {customer: user, agent:
    assistant}}`` for the roles of messages; ``{winner: {1: first, 0: second}}`` for votes, which are ``first``,
    ``second``, ``tie`` or ``both bad``; ``{label: {good: true, bad: false}}`` for replies that were liked or not."""
    ignore: tuple[str, ...] = ()
    """Columns of `source` that are left out. Without being named here, a column that the format does not know is
    reported, and one that changes the meaning of a row is refused."""
    bad_rows: Literal["drop", "stop"] = "drop"
    """What happens to a row that cannot be used, for example because a text is null or a role is unknown. ``drop``
    leaves it out with its file, line and reason; ``stop`` ends the step at the first one."""
    bad_share: float = Field(0.1, ge=0, le=1)
    """Maximum share of bad rows under ``bad_rows=drop``. With more the step stops and shows the most common reasons."""
    max_characters: PositiveInt = 32_768
    """Maximum length of a message in characters. Longer messages are dropped with a reason."""

    @field_validator("values", mode="before")
    @classmethod
    def _as_texts(cls, given: Any) -> Any:
        """Keys and values as texts, in lower case: YAML reads ``1`` and ``true`` as no texts."""
        if not isinstance(given, dict):
            return given
        return {
            field: {value_key(key): value_key(value) for key, value in meanings.items()}
            if isinstance(meanings, dict)
            else meanings
            for field, meanings in given.items()
        }

    @field_validator("values")
    @classmethod
    def _check_roles(cls, given: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        known = ("system", "user", "assistant", "tool")
        for said, role in given.get("role", {}).items():
            if role not in known:
                raise ValueError(f"role {said!r} cannot be {role!r}; a role is one of {', '.join(known)}")
        return given


class SeedData(RowReading):
    """Human-ranked conversations, from which the IFT, EFT and held-out sets are made (section 2.1)."""

    source: str | None = None
    """Where the ranked conversations come from. A file or folder of JSONL or Parquet, by path or URI; a data set of the
    Hugging Face hub (``OpenAssistant/oasst1``); or the name of an installed source (``demo`` is the offline demo world;
    see `extensions`). The format of the rows is detected from their fields, or named in `format`. Required by every
    step that reads seed data."""
    split: str = "train"
    """The split that is read of a hub data set, or of a folder whose ``README.md`` or names of files tell splits:
    ``train``, or ``config/train`` if there are several configurations. Another folder is ``train`` as a whole; a single
    file is read whatever the split."""
    language: str | None = "en"
    """Keep only messages in this language; null keeps all. Messages without a language are kept."""
    turns: Literal["first", "any"] = "first"
    """Which prompts of a conversation are used. ``first`` takes only those that open it, as the paper does
    (section 3.1.1). ``any`` also takes later ones, together with the messages before them."""
    attributes: dict[str, float] = Field({})
    """Weights of the columns that add up to a reply's score in the format ``helpsteer``, for example ``{helpfulness:
    1}`` or ``{quality: 0.5, ratings.safety: 1}``; rows then have these columns beside ``response``. Empty takes those
    published for HelpSteer2: helpfulness 0.65, correctness 0.8, coherence 0.45, complexity 0.55, verbosity -0.4."""
    minimum_rank: NonNegativeInt = 0
    """Worst rank that an IFT reply may have. 0 takes only replies that people ranked first. A reply that is left out
    keeps its rank: if the best reply is synthetic, the next one still has rank 1."""
    minimum_score: float | None = None
    """Least score of a good reply where nothing in its set has another score, as where a prompt has one reply. Such a
    reply with less has rank 1, so that IFT does not take it. null is the middle between the least and the greatest
    score of the source. Replies with different scores are ranked by them."""
    synthetic: bool = False
    """Also use messages that are marked as written by a model."""
    deleted: bool = False
    """Also use messages that are marked as deleted."""
    ift: NonNegativeInt = 3200
    """Number of IFT examples, instruction fine-tuning rows of a prompt and its best reply (section 3.1.1)."""
    eft: NonNegativeInt = 1630
    """Number of EFT examples, evaluation fine-tuning rows of a judge prompt and a verdict (section 3.1.1). At most as
    many ranked sets are judged for them, which is enough if one verdict in three agrees with the human ranks."""
    held_out: NonNegativeInt = 190
    """Number of ranked sets held out for evaluation, disjoint from IFT and EFT. The default gives about as many
    held-out verdicts as the paper has, 541, at 2.85 replies per set."""
    validation: NonNegativeInt = 253
    """Number of prompts by which ``training.select=judged`` chooses a checkpoint; ``last`` ignores it. They are the
    first messages of conversations that serve no other end, at most a tenth of all. The paper uses 253."""
    held_out_groups: tuple[Literal["topics", "words", "dev"], ...] = ("topics",)
    """Held-out sets of the demo world, each with `held_out` prompts. ``topics`` has unseen topics; ``words`` also has
    unseen words and combinations of rules; ``dev`` has other unseen topics, for choosing a recipe. Other sources ignore
    it."""
    verdicts: str = "baseline"
    """Who writes the EFT verdicts. ``baseline`` is M0 after SFT on the IFT examples alone, as in the paper
    (section 3.1.1). ``written`` takes the verdicts that the source contains. Any other value is the folder, hub name or
    URI of a model."""
    verdict_samples: PositiveInt = 3
    """Number of verdicts sampled for each ranked reply, from which the EFT examples are chosen."""
    commonest_share: float = Field(0.5, gt=0, lt=1)
    """Maximum share of the EFT examples that may have the most common score. Further examples with that score are
    discarded. The paper discards some of them too, but gives no number (section 3.1.1)."""

    def named(self) -> str:
        """The value of `source`. Raises `UserError` if the recipe does not set it."""
        if self.source is None:
            raise UserError(
                "seed_data.source is not set: name your ranked conversations (a file, a folder, a URI or a hub data "
                "set), or demo for the demo world"
            )
        return self.source
