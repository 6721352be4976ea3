"""What a package of yours may add, found by name: sources of data, and scorers of replies.

A package offers them as entry points, and a recipe names them::

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
    """Seed data and prompts that a program gives. Constructed without arguments, on the driver."""

    def seed_sets(self, wanted: SeedData, seed: int) -> SeedSets:
        """Sets for IFT, EFT and evaluation; equal arguments give equal sets."""
        ...

    def prompts(self, count: int, seed: int, iteration: int) -> list[Prompt]:
        """The prompts of an iteration, 1 for the first, with ids ``it1/p000000`` and so on; no two are the same."""
        ...


@dataclass(frozen=True)
class Score:
    """What a program thinks of a reply: `value`, of 0 to `maximum`."""

    value: float
    maximum: float


class Scorer(Protocol):
    """A program that scores replies, on the driver, for the evaluate step alone: no model learns from its scores."""

    def __call__(self, prompt: str, reply: str) -> Score | None:
        """None where it can not tell. `prompt` has what was said before in it, as a judge is shown it."""
        ...


def find_source(name: str) -> Source | None:
    """The source of that name; None where no package has one. Raises `UserError` where it can not be loaded."""
    found = _find(_SOURCES, name)
    return None if found is None else cast(Source, found())


def scorer_named(name: str) -> Scorer:
    """The scorer of that name. Raises `UserError` where no package has one, or it can not be loaded."""
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
