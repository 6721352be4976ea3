"""Extension points for other packages: data sources and scorers of replies, found by name.

A package declares them as entry points, and a recipe refers to them by name::

    [project.entry-points."selfreward_ray.sources"]
    tickets = "my_package:TicketSource"      # seed_data.source: tickets

    [project.entry-points."selfreward_ray.scorers"]
    unit-tests = "my_package:run_tests"      # evaluation.scorer: unit-tests
"""

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import SeedData
from selfreward_ray.records import Prompt
from selfreward_ray.seed.split import SeedSets

_SOURCES = "selfreward_ray.sources"
_SCORERS = "selfreward_ray.scorers"


class Source(Protocol):
    """A program that provides seed data and prompts. It is constructed without arguments, in the driver process."""

    def seed_sets(self, wanted: SeedData, seed: int) -> SeedSets:
        """Ranked sets for IFT, EFT and evaluation.

        `wanted` is the recipe's section ``seed_data``, `seed` the run's random seed. Equal arguments must give equal
        sets.
        """
        ...

    def prompts(self, count: int, seed: int, iteration: int) -> list[Prompt]:
        """`count` different prompts for an iteration, counted from 1.

        Their ids are ``it1/p000000``, ``it1/p000001`` and so on. Equal arguments must give equal prompts.
        """
        ...


@dataclass(frozen=True)
class Score:
    """The score of a reply: `value`, from 0 to `maximum`."""

    value: float
    maximum: float


class Scorer(Protocol):
    """A program that scores replies in the driver process. Only the evaluate step uses it: no model is trained on its
    scores."""

    def __call__(self, prompt: str, reply: str) -> Score | None:
        """Score `reply`, or return None if there is no score for it.

        `prompt` is the text that a judge is shown, which includes the earlier messages of the conversation.
        """
        ...


def find_source(name: str) -> Source | None:
    """Load and construct the source called `name`; None if no installed package has one.

    Raises `UserError` if it cannot be loaded.
    """
    found = _find(_SOURCES, name)
    return None if found is None else cast(Source, found())


def scorer_named(name: str) -> Scorer:
    """Load the scorer called `name`. Raises `UserError` if no installed package has one, or if it cannot be loaded."""
    found = _find(_SCORERS, name)
    if found is None:
        there = ", ".join(sorted(entry_points(group=_SCORERS).names)) or "none"
        raise UserError(f"evaluation.scorer: no installed package has a scorer {name!r} (there are: {there})")
    return cast(Scorer, found)


def _find(group: str, name: str) -> Any:
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise UserError(f"{name!r} of {group} can not be loaded from {point.value}: {error}") from error
    return None
