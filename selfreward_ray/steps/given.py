"""Rows that users give to a step directly, written to the step's table `offered` before it runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any, TypeVar

from selfreward_ray.prompts.given import given_id, prompt_reading, read_prompts
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, Prompt
from selfreward_ray.reporting.progress import warn
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step, finished_step, is_step
from selfreward_ray.store.tables import write_part
from selfreward_ray.store.user_files import RowError, read_some_rows

R = TypeVar("R")

_ROWS_PER_PART = 1024


@dataclass(frozen=True)
class Offered:
    """The rows that a step is offered."""

    rows: Folder
    refused: int = 0
    """Number of rows that cannot be used: they are in the step's table `dropped`."""
    figures: dict[str, Any] = field(default_factory=dict)
    """How a file was read, for the step's manifest."""


def reading_part(recipe: Recipe, *sources: str) -> dict[str, Any]:
    """The part of the recipe that says how rows of files are read, for a step's fingerprint; none if all `sources` are
    steps."""
    if all(is_step(Folder(source)) for source in sources):
        return {}
    return {"reading": used(recipe.prompts, include={*RowReading.model_fields})}


def offered_prompts(step: Step, source: str, option: str, recipe: Recipe) -> Offered:
    """The `Prompt` table of `source`: the rows of a propose step, or those of a file, folder or URI, which are written
    to `step`'s table `offered`.

    Raises `UserError` for an unfinished step, a step of another kind, and a question of several turns.
    """
    if is_step(Folder(source)):
        return Offered(finished_step(source, "propose") / "rows")
    reading = prompt_reading(recipe.prompts, option)

    def prompts() -> Iterator[Prompt | Dropped]:
        for number, found in enumerate(read_prompts(read_some_rows(source, None, option), reading)):
            if isinstance(found, Dropped):
                yield found
                continue
            text, *later = found.turns
            if later:
                raise RowError(
                    f"{found.where}: has {len(found.turns)} turns, which the answer step asks one after the other: "
                    "selfreward answer"
                )
            yield Prompt(given_id(number), text, found.history)

    return write_offered(step, prompts(), Prompt, reading)


def write_offered(step: Step, rows: Iterable[R | Dropped], record: type[R], reading: Reading | None = None) -> Offered:
    """`step`'s table `offered`, written from `rows` unless the step is done; `Dropped` rows go to its table `dropped`.

    What `reading` notes of the rows is said.
    """
    offered = step.folder / "offered"
    if step.is_done():
        return Offered(offered)
    offered.delete()  # of an interrupted attempt, possibly incomplete
    dropped: list[Dropped] = []
    usable = _usable(rows, record, dropped, step.name)
    for number in count():
        part = list(islice(usable, _ROWS_PER_PART))
        if not part:
            break
        write_part(step.folder, "offered", part, record, f"{number:06d}")
    if dropped:
        step.write(dropped, Dropped, "dropped")
    for note in reading.notes() if reading else ():
        warn(note)
    return Offered(offered, len(dropped), reading.figures() if reading else {})


def _usable(rows: Iterable[R | Dropped], record: type[R], dropped: list[Dropped], step: str) -> Iterator[R]:
    for row in rows:
        if isinstance(row, record):
            yield row
        elif isinstance(row, Dropped):
            dropped.append(replace(row, step=step))
