"""Extension points for other packages: data sources, scorers of replies and trackers, found by name.

A package declares them as entry points, and a recipe refers to them by name::

    [project.entry-points."selfreward_ray.sources"]
    tickets = "my_package:TicketSource"      # seed_data.source: tickets

    [project.entry-points."selfreward_ray.scorers"]
    unit-tests = "my_package:run_tests"      # evaluation.scorer: unit-tests

    [project.entry-points."selfreward_ray.trackers"]
    board = "my_package:open_board"          # tracking.trackers: [board]
"""

import json
import math
import reprlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from pydantic import TypeAdapter, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Prompt, RankedSet, prompt_id
from selfreward_ray.seed.split import SeedSets
from selfreward_ray.tracking.tracker import OpenTracker

_SOURCES = "selfreward_ray.sources"
_SCORERS = "selfreward_ray.scorers"
_TRACKERS = "selfreward_ray.trackers"


class Source(Protocol):
    """A program that provides seed data and prompts. It is constructed without arguments, in the driver process."""

    def seed_sets(self, wanted: SeedData, seed: int) -> SeedSets:
        """Ranked sets for IFT, EFT and evaluation.

        `wanted` is the recipe's section ``seed_data``, `seed` the run's random seed. Equal arguments must give equal
        sets. With ``training.select=judged``, `wanted.validation` is the number of sets for the choice of a checkpoint,
        otherwise it is 0.
        """
        ...

    def prompts(self, count: int, seed: int, iteration: int) -> list[Prompt]:
        """The prompts of an iteration, counted from 1, with ids ``M2/p000000`` and so on, as `prompt_id` gives them.

        No two are the same, in one iteration or in two. Equal arguments must give equal prompts.
        """
        ...


@dataclass(frozen=True)
class Score:
    """The score of a reply: `value`, from 0 to `maximum`. Raises `ValueError` for another value."""

    value: float
    maximum: float

    def __post_init__(self) -> None:
        for field in ("value", "maximum"):
            try:
                object.__setattr__(self, field, float(getattr(self, field)))
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"its {field} is no number: {error}") from None
        if not (0 <= self.value <= self.maximum and 0 < self.maximum < math.inf):
            raise ValueError(f"{self} is not of 0 to a maximum above 0")


class Scorer(Protocol):
    """A program that scores replies in the driver process. Only the evaluate step uses it: no model is trained on its
    scores."""

    def __call__(self, prompt: str, reply: str) -> Score | None:
        """Score `reply`, or return None if there is no score for it.

        `prompt` is the text that a judge is shown, which includes the earlier messages of the conversation.
        """
        ...


def is_source(name: str) -> bool:
    """Whether an installed package has a source of that name; what it offers is not loaded."""
    return bool(entry_points(group=_SOURCES, name=name))


def find_source(name: str, field: str) -> Any:
    """What makes the source of that name, the value of the recipe's `field`; it is not called. Raises `UserError` where
    it cannot be loaded."""
    return _load(_SOURCES, name, field)


def source_named(name: str) -> Source:
    """The source of that name. Raises `UserError` where no package has one, or it cannot be loaded."""
    return cast(Source, _load(_SOURCES, name, "source")())


def check_different(ids: Iterable[str], what: str) -> None:
    """Raise `UserError` that begins with `what` where two of the `ids` that a source gave are the same."""
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise UserError(f"{what} with the id {twice[0]!r}; correct the source: ids tell rows apart")


def given_sets(recipe: Recipe) -> SeedSets:
    """What the source of the seed data gives. Raises `UserError` that names it and the set where that is not sound."""
    name = recipe.seed_data.named()
    source = source_named(name)
    what = f"seed_data.source: {name!r}"
    sets = _called(what, lambda: source.seed_sets(recipe.seed_sizes(), recipe.seed))
    if not isinstance(sets, SeedSets):
        raise UserError(f"{what} gave {reprlib.repr(sets)}; it must give SeedSets")
    given = [*sets.ift, *sets.eft, *sets.held_out, *sets.validation]
    _check_records(given, RankedSet, what)
    for kind, ids in (("sets", [s.id for s in given]), ("replies", [r.id for s in given for r in s.replies])):
        check_different(ids, f"{what} gives two {kind}")
    return sets


def given_prompts(recipe: Recipe, iteration: int) -> list[Prompt]:
    """What the source of the prompts gives for an iteration. Raises as `given_sets` does."""
    name, count = recipe.prompts.source, recipe.prompts.count
    source = source_named(name)
    what = f"prompts.source: {name!r}"
    prompts: list[Prompt] = _called(what, lambda: list(source.prompts(count, recipe.seed, iteration)))
    _check_records(prompts, Prompt, what)
    wanted = [prompt_id(iteration, place) for place in range(count)]
    if [prompt.id for prompt in prompts] != wanted:
        ids = reprlib.repr([prompt.id for prompt in prompts])
        raise UserError(f"{what} gave the ids {ids}; {count} prompts must have those of {wanted[0]} to {wanted[-1]}")
    return prompts


def _called(what: str, call: Callable[[], Any], remedy: str = "correct the source") -> Any:
    """What another package's code gives; an exception of it becomes a `UserError` with the line that raised it."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {error}{_place(error)}; {remedy}") from error


def _check_records(records: list[Any], record: type[Any], what: str) -> None:
    """Raise `UserError` for the first that is not such a record, field by field, or whose prompt is empty."""
    adapter = TypeAdapter(record)
    for found in records:
        if not isinstance(found, record):
            raise UserError(f"{what} gave {reprlib.repr(found)}; it must give a {record.__name__}")
        try:
            adapter.validate_json(json.dumps(asdict(found)), strict=True)
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise UserError(f"{what}: {reprlib.repr(found)}: {field}: {fault['msg'].lower()}") from None
        except TypeError as error:  # of what JSON has no form for
            raise UserError(f"{what}: {reprlib.repr(found)}: {error}") from None
        if not (found.text if isinstance(found, Prompt) else found.prompt).strip():
            raise UserError(f"{what}: {reprlib.repr(found)}: its prompt is empty")
        if isinstance(found, RankedSet) and not found.replies:
            raise UserError(f"{what}: {reprlib.repr(found)}: it has no replies")


def check_scorer(name: str) -> None:
    """Raise `UserError` where no package has the scorer of that name, or it cannot be loaded or called."""
    scorer_named(name)


def scorer_named(name: str) -> Scorer:
    """The scorer of that name. Raises `UserError` where no package has one, or it cannot be loaded.

    So does a call of it that fails, or that gives anything but a `Score` or None.
    """
    score = _load(_SCORERS, name, "evaluation.scorer")
    if not callable(score):
        raise UserError(f"evaluation.scorer: {name!r} is {reprlib.repr(score)}, which cannot be called")

    def checked(prompt: str, reply: str) -> Score | None:
        where = f"evaluation.scorer: {name!r}, for the reply {reprlib.repr(reply)} to {reprlib.repr(prompt)}"
        found = _called(where, lambda: score(prompt, reply), "correct it, and run the same command again")
        if found is not None and not isinstance(found, Score):
            raise UserError(f"{where}: gave {reprlib.repr(found)}; it must give a Score, or None")
        return found

    return checked


def tracker_named(name: str) -> OpenTracker:
    """The tracker of that name. Raises `UserError` where no package has one, or it cannot be loaded or opened."""
    opened = _load(_TRACKERS, name, "tracking.trackers")
    return lambda run: _called(f"tracking.trackers: {name!r}", lambda: opened(run), "correct it, or leave it out")


def _place(error: Exception) -> str:
    """Where it was raised, in the other package's own code if it can be told."""
    generated = "<string>"  # a dataclass's own methods
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in (__file__, generated)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _load(group: str, name: str, field: str) -> Any:
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except Exception as error:  # whatever the module does when it is imported
            fault = f"{type(error).__name__}: {error}"
            raise UserError(f"{field}: {name!r} cannot be loaded from {point.value}: {fault}") from error
    there = ", ".join(sorted(entry_points(group=group).names)) or "none"
    kind = group.rpartition(".")[2].removesuffix("s")
    raise UserError(f"{field}: no installed package has a {kind} {name!r} (there are: {there})")
