"""What a format of seed data is: the columns that tell it, those that it uses or knows, and what a row of it says."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.exchanges import Exchange, Values
from selfreward_ray.seed.readers.messages import ASKING, SYSTEM
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.store.user_files import Row

IRRELEVANT = frozenset(
    (
        "id", "source", "sources", "dataset", "dataset_name", "data_source", "origin", "model", "models", "model_name",
        "model_id", "chosen_model", "rejected_model", "generator", "category", "categories", "topic", "domain", "task",
        "task_type", "prompt_id", "question_id", "conversation_id", "uuid", "hash", "index", "idx", "row_id", "url",
        "link", "license", "timestamp", "created_at", "date", "tag", "tags", "metadata", "meta", "annotator",
        "annotators", "annotator_id", "worker_id", "num_turns", "length", "num_tokens", "token_count",
    )
)  # fmt: skip
"""Columns that say nothing about what to train on, in any format."""

PROMPT = ("input", *ASKING)
"""The columns of `values.asked`, for formats that read their prompts so."""


@dataclass(frozen=True)
class Format:
    """A format of rows. Exactly one of `exchanges` and `trees` is given."""

    name: str
    told_by: tuple[str, ...]
    """The columns that a row of this format has."""
    exchanges: Callable[[Values, Reading], Sequence[Exchange]] | None = None
    """What a row says. Raises `BadRow` or `LeftOut`."""
    trees: Callable[[Iterable[Row], Reading], Iterator[RankedSet | Dropped]] | None = None
    """Reads all rows, where a row alone says little."""
    used: tuple[str, ...] = ()
    """Further columns that it uses, beside ``system`` and ``history``, which all formats do that have `exchanges`."""
    irrelevant: tuple[str, ...] = ()
    """Columns of its public data sets that do not matter here, beside `IRRELEVANT`."""
    merged: Literal["pairs", "scores"] | None = None
    """How rows with the same prompt become one set: by who was preferred to whom, or because all replies are rated on
    one scale. None leaves rows apart."""
    others: tuple[tuple[str, ...], ...] = ()
    """Columns of other names that tell the format too, instead of `told_by`."""
    weighs: bool = False
    """Whether ``seed_data.attributes`` names the columns that tell it, beside the reply."""
    ranks: bool = False
    """A row itself holds several replies with their order."""
    whole_replies: bool = False
    """Replies are kept as a model wrote them, with their thoughts. Otherwise a thought is apart from its reply, and a
    row with a thought without an end is a bad one."""

    @cached_property
    def fields(self) -> frozenset[str]:
        """The columns that a row of this format may have for its meaning."""
        common = ("id", "history", *SYSTEM) if self.exchanges is not None else ()
        others = (name for names in self.others for name in names)
        return frozenset((*self.told_by, *others, *self.used, *common))

    @cached_property
    def alternatives(self) -> frozenset[str]:
        """All columns in `told_by` and `others`, if there are `others`: a row may have several of these sets, and only
        one is used."""
        return (
            frozenset(name for names in (self.told_by, *self.others) for name in names) if self.others else frozenset()
        )

    @property
    def is_unranked(self) -> bool:
        """Whether a reply counts as good because it is there."""
        return self.exchanges is not None and self.merged is None and not self.ranks and not self.whole_replies

    def knows(self, column: str) -> bool:
        return column in self.fields or column in IRRELEVANT or column in self.irrelevant or column.startswith("_")

    def fits(self, values: Values, filled: bool) -> bool:
        """Whether a row has the columns that tell the format; `filled` asks for a value in each."""
        return self.columns_in(values, filled) is not None

    def columns_in(self, values: Values, filled: bool = False) -> tuple[str, ...] | None:
        """The columns by which a row is told to be of this format, the first that all have a value, or else that are
        there, unless `filled` asks for values; None if it is not."""
        for with_values in (True,) if filled else (True, False):
            for names in (self.told_by, *self.others):
                if all(name in values and not (with_values and values[name] is None) for name in names):
                    return names
        return None
